"""Shares of red, green and blue in the luma of a picture, by the standard that its codec or its measure follows."""

from __future__ import annotations

BT601 = (0.299, 0.587, 0.114)
"""SD video and JPEG; OpenCV's and PIL's grey."""
BT709 = (0.2126, 0.7152, 0.0722)
"""HD video and sRGB."""

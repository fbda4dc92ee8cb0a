"""BFVR-STC: a 3D-VQGAN with a spatial and a temporal codebook, and its two lookup transformers."""

from vividface_core.bfvr_stc.autoencoder import Reconstruction, VQAutoEncoder3D
from vividface_core.bfvr_stc.codeformer import CodeFormer3D, Prediction, Restoration

__all__ = ["CodeFormer3D", "Prediction", "Reconstruction", "Restoration", "VQAutoEncoder3D"]

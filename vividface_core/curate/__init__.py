"""Out of a folder of videos a data set: face clips, measured, judged, chosen, and listed with the reasons."""

"""DVFace: spatio-temporal dual-codebook priors fused asymmetrically into the one-step denoiser."""

from vividface_core.dvface.fusion import ASTF, Fusion, FusionConfig
from vividface_core.dvface.priors import PriorEncoder, Priors, priors_of

__all__ = ["ASTF", "Fusion", "FusionConfig", "PriorEncoder", "Priors", "priors_of"]

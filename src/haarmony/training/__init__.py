"""Training by Algorithm 1: pairs → prior → diffuse → predict → refine → loss → step."""

from haarmony.training.loop import train

__all__ = ["train"]

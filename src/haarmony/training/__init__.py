"""Training by Algorithm 1: pairs → prior → diffuse → predict → refine → loss → step."""

try:
    from haarmony.training.loop import train
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        f'training needs {error.name}: pip install "haarmony[train]"', name=error.name
    ) from None

__all__ = ["train"]

"""Output widths and paddings, for the layer, its operators and the planner alike."""

from __future__ import annotations


def output_width(W: int, S: int, pad_left: int, pad_right: int, dilation: int) -> int:
    """Q, the number of output columns (may be < 1: no output)."""
    return W + pad_left + pad_right - (S - 1) * dilation


def resolve_padding(padding, S: int, dilation: int) -> tuple[int, int]:
    """(left, right); "same" puts the odd extra column on the right, as torch does."""
    if isinstance(padding, str):
        total = {"same": (S - 1) * dilation, "valid": 0}.get(padding)
        if total is None:
            raise ValueError(
                f"padding must be an int, (left, right), 'same' or 'valid', got {padding!r}"
            )
        return total // 2, total - total // 2
    left, right = (padding, padding) if isinstance(padding, int) else padding
    if left < 0 or right < 0:
        raise ValueError(f"padding must not be negative, got ({left}, {right})")
    return left, right

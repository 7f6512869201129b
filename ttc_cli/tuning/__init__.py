"""Re-quantised copies of a model: made, compared by decoding, and judged."""

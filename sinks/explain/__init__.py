"""Why a GPU has the weight it has: records about it in, one struct out, and that struct as text or JSON."""

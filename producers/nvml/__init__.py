"""NVIDIA's driver library (NVML) as a source, for nodes without DCGM."""

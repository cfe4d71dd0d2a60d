"""What scores pixels: open_clip by torch, exports by ONNX Runtime, models of others."""

"""What the bytes of a file say without a pixel decoded: blocks, content, what else is inside."""

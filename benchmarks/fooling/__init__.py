"""What can be passed off as clean: pictures, transforms, attacks, and the real judge over them."""

"""The parts of `benchmarks.federation_wire`: a module for each thing that is measured."""

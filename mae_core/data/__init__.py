"""From files of any origin to packed samples that load by memory map."""

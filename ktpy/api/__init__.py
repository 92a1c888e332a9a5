"""ktpy's Python API, which `import ktpy` offers: sessions as blocks, each a process of the command of its name."""

"""What may keep ktpy from working here, looked at one by one: `ktpy doctor`. Nothing is changed by looking."""

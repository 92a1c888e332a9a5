"""The server of the Model Context Protocol, by which coding agents use ktpy: `ktpy mcp`."""

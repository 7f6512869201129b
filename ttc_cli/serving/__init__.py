"""What speaks to other programs: ``ttc serve`` in OpenAI's protocol, ``ttc mcp`` in MCP."""

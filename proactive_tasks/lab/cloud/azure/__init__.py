"""Our ARM emulator: enough of Azure's resource manager for the networks and machines of a site.

It proves our client, not Azure. Its bodies are judged by the types in the official SDK; its rules and the codes of its
refusals follow Microsoft's documentation of the REST API and of its errors, where they are documented.
"""

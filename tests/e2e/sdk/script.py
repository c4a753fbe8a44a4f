"""The script of script.mjs for the official Python SDK: lists tools, makes calls, prints one JSON document.

usage: script.py MODE URL   (MCP_TOKEN, MCP_PREFIX, MCP_CALLS, MCP_CERTIFICATES in the environment)
MODE is the SDK's own: legacy, auto or 2026-07-28.
"""

import asyncio
import json
import os
import ssl
import sys

import httpx2
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client

MODE, URL = sys.argv[1:3]
PREFIX = os.environ.get("MCP_PREFIX", "")
CALLS = json.loads(os.environ.get("MCP_CALLS", "[]"))


def plain(model):
    return model.model_dump(mode="json", by_alias=True, exclude_none=True)


async def all_tools(client):
    tools, cursor = [], None
    while True:
        page = await client.list_tools(cursor=cursor)
        tools += [plain(tool) for tool in page.tools]
        cursor = page.next_cursor
        if cursor is None:
            break
    # At the federated path other servers' tools are listed as well.
    own = [tool for tool in tools if tool["name"].startswith(PREFIX)]
    for tool in own:
        tool["name"] = tool["name"][len(PREFIX) :]
    return sorted(own, key=lambda tool: tool["name"])


async def answer(client, one):
    progress = []

    async def heard(done, total, message):
        progress.append({"progress": done, "total": total, "message": message})

    try:
        result = await client.call_tool(
            PREFIX + one["name"],
            one["arguments"],
            progress_callback=heard if one.get("progress") else None,
        )
    except MCPError as fault:
        # Words are each side's own; the code is the protocol's.
        return {"name": one["name"], "code": fault.error.code, "progress": progress}
    result = plain(result)
    return {
        "name": one["name"],
        "content": result.get("content"),
        "structuredContent": result.get("structuredContent"),
        "isError": result.get("isError", False),
        "progress": progress,
    }


async def main():
    verify = True
    if certificates := os.environ.get("MCP_CERTIFICATES"):
        verify = ssl.create_default_context(cafile=certificates)
    headers = {}
    if token := os.environ.get("MCP_TOKEN"):
        headers["Authorization"] = token
    async with httpx2.AsyncClient(headers=headers, verify=verify, timeout=60) as http:
        async with Client(streamable_http_client(URL, http_client=http), mode=MODE) as client:
            printed = {"protocol": client.protocol_version, "tools": await all_tools(client)}
            printed["answers"] = [await answer(client, one) for one in CALLS]
    print(json.dumps(printed))


asyncio.run(main())

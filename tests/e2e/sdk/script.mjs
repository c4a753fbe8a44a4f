// The same script for both TypeScript SDKs: lists tools, makes the calls it is given, prints one JSON
// document. Run directly and through the gateway it must print the same.
//
// usage: script.mjs v1|v2-legacy|v2-modern|v2-auto URL   (MCP_TOKEN, MCP_PREFIX, MCP_CALLS in the environment)

const [mode, url] = process.argv.slice(2);
const prefix = process.env.MCP_PREFIX ?? '';
const calls = JSON.parse(process.env.MCP_CALLS ?? '[]');
const headers = process.env.MCP_TOKEN ? { Authorization: process.env.MCP_TOKEN } : {};
const info = { name: 'portcullis-e2e', version: '1.0.0' };

async function connect() {
  if (mode === 'v1') {
    const { Client } = await import('@modelcontextprotocol/sdk/client/index.js');
    const { StreamableHTTPClientTransport } = await import(
      '@modelcontextprotocol/sdk/client/streamableHttp.js'
    );
    const client = new Client(info);
    const transport = new StreamableHTTPClientTransport(new URL(url), { requestInit: { headers } });
    await client.connect(transport);
    const call = (params, options) => client.callTool(params, undefined, options);
    return { client, transport, call, protocol: transport.protocolVersion };
  }
  const { Client, StreamableHTTPClientTransport } = await import('@modelcontextprotocol/client');
  const negotiation = { 'v2-legacy': 'legacy', 'v2-auto': 'auto', 'v2-modern': { pin: '2026-07-28' } };
  const client = new Client(info, { versionNegotiation: { mode: negotiation[mode] } });
  const transport = new StreamableHTTPClientTransport(new URL(url), { requestInit: { headers } });
  await client.connect(transport);
  const call = (params, options) => client.callTool(params, options);
  const protocol = client.getNegotiatedProtocolVersion?.() ?? transport.protocolVersion;
  return { client, transport, call, protocol };
}

async function allTools(client) {
  const tools = [];
  let cursor;
  do {
    const page = await client.listTools(cursor ? { cursor } : undefined);
    tools.push(...page.tools);
    cursor = page.nextCursor;
  } while (cursor);
  // At the federated path other servers' tools are listed as well.
  const own = tools.filter((tool) => tool.name.startsWith(prefix));
  for (const tool of own) tool.name = tool.name.slice(prefix.length);
  return own.sort((a, b) => (a.name < b.name ? -1 : 1));
}

async function answer(call, one) {
  const progress = [];
  const options = one.progress ? { onprogress: (told) => progress.push(told) } : undefined;
  try {
    const { content, structuredContent, isError } = await call(
      { name: prefix + one.name, arguments: one.arguments },
      options,
    );
    return { name: one.name, content, structuredContent, isError: isError ?? false, progress };
  } catch (fault) {
    // Words are each side's own; the code is the protocol's.
    return { name: one.name, code: fault.code ?? String(fault), progress };
  }
}

const { client, transport, call, protocol } = await connect();
const printed = { protocol, tools: await allTools(client), answers: [] };
for (const one of calls) printed.answers.push(await answer(call, one));
if (process.env.MCP_PING) printed.ping = Object.keys(await client.ping());
await transport.terminateSession?.();
await client.close();
// A pipe is written in pieces: the end comes after the last.
process.stdout.write(JSON.stringify(printed), () => process.exit(0));

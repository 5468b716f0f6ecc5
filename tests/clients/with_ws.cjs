// Text, binary, a ping and a login over a WebSocket with ws, behind a proxy as its documentation has it.
// usage: with_ws.cjs URL PLACEHOLDER
const assert = require("node:assert");
const { randomBytes } = require("node:crypto");
const { once } = require("node:events");
const { HttpsProxyAgent } = require("https-proxy-agent");
const WebSocket = require("ws");

async function main(url, placeholder) {
  const socket = new WebSocket(url, { agent: new HttpsProxyAgent(process.env.HTTPS_PROXY) });
  await once(socket, "open");
  // Longer than each length's encoding (RFC 6455 section 5.2), and longer than one read.
  for (const message of ["Größe", "x".repeat(300), randomBytes(70_000), randomBytes(3)]) {
    socket.send(message);
    const [echo, isBinary] = await once(socket, "message");
    assert.equal(isBinary, Buffer.isBuffer(message));
    assert.deepEqual(echo, Buffer.from(message));
  }
  socket.ping("are you there");
  const [pong] = await once(socket, "pong");
  assert.equal(pong.toString(), "are you there");
  // In two frames of one message, then whole.
  socket.send("in two ", { fin: false });
  socket.send("frames", { fin: true });
  const [joined] = await once(socket, "message");
  assert.equal(joined.toString(), "in two frames");
  socket.send(JSON.stringify({ token: placeholder }));
  const [answer] = await once(socket, "message");
  console.log(answer.toString());
  socket.close();
  await once(socket, "close");
}

main(...process.argv.slice(2));

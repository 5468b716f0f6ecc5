// GET and POST with Node's own TLS in a tunnel this client opens itself.
// usage: with_tunnel.mjs URL BODY
import http from "node:http";
import https from "node:https";

const [base, body] = process.argv.slice(2);
const proxy = new URL(process.env.HTTPS_PROXY);
const target = new URL(base);

function tunnel() {
  const credentials = Buffer.from(`${proxy.username}:${proxy.password}`).toString("base64");
  const request = http.request({
    host: proxy.hostname,
    port: proxy.port,
    method: "CONNECT",
    path: target.host,
    headers: { "Proxy-Authorization": `Basic ${credentials}` },
  });
  return new Promise((resolve, reject) => {
    request.on("connect", (reply, socket) =>
      reply.statusCode === 200 ? resolve(socket) : reject(new Error(`CONNECT: ${reply.statusCode}`)),
    );
    request.on("error", reject);
    request.end();
  });
}

async function call(method, path, content) {
  const socket = await tunnel();
  const options = { socket, agent: false, host: target.hostname, servername: target.hostname, method, path };
  options.headers = { Host: target.host };
  return new Promise((resolve, reject) => {
    const request = https.request(options, (reply) => {
      reply.resume();
      reply.on("end", () => (reply.statusCode === 200 ? resolve() : reject(new Error(`${reply.statusCode}`))));
    });
    request.on("error", reject);
    request.end(content);
  });
}

await call("GET", "/get");
await call("POST", "/post", body);

// A GET and a POST with node:https, as older libraries do underneath. usage: with_https.mjs URL BODY
import https from "node:https";

const [url, body] = process.argv.slice(2);

function exchange(path, method, body) {
  return new Promise((resolve, reject) => {
    const request = https.request(url + path, { method }, (answer) => {
      if (answer.statusCode !== 200) reject(new Error(`${path}: ${answer.statusCode}`));
      answer.pipe(process.stdout, { end: false });
      answer.on("end", resolve);
    });
    request.on("error", reject);
    request.end(body);
  });
}

await exchange("/get", "GET");
await exchange("/post", "POST", body);

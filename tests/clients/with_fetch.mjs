// A GET and a POST with the built-in fetch, as an app would write them. usage: with_fetch.mjs URL BODY
const [url, body] = process.argv.slice(2);
for (const [path, options] of [["/get", {}], ["/post", { method: "POST", body }]]) {
  const answer = await fetch(url + path, options);
  if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
  process.stdout.write(await answer.text());
}

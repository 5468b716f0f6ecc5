// A GET and a POST with Deno's fetch, as an app would write them. usage: with_deno.js URL BODY

const [url, body] = Deno.args;
const headers = { Authorization: "Bearer placeholder" };
for (const answer of [
    await fetch(`${url}/get`, { headers }),
    await fetch(`${url}/post`, { method: "POST", headers, body }),
]) {
    if (!answer.ok) throw new Error(`status ${answer.status}`);
    await answer.body?.cancel();
}

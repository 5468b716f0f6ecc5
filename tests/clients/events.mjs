// Server-sent events with the built-in fetch; asks for the next only when one has arrived. usage: events.mjs URL
const [url] = process.argv.slice(2);

const events = await fetch(url + "/events");
if (!events.ok) throw new Error(`events: ${events.status}`);
let text = "";
for await (const piece of events.body.pipeThrough(new TextDecoderStream())) {
  text += piece;
  for (let end; (end = text.indexOf("\n\n")) !== -1; text = text.slice(end + 2)) {
    const event = text.slice(0, end);
    console.log(event);
    const seen = await fetch(url + "/seen/" + event.replace("data: ", ""));
    if (!seen.ok) throw new Error(`seen: ${seen.status}`);
  }
}

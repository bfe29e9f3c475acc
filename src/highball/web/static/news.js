// The hub's news, heard once for all pages of this browser: a browser opens only six connections to a host, and a
// stream holds one for as long as it lasts. Runs as a SharedWorker; where there is none, in the page itself.
const MOST_KEPT = 1000;
const TOPICS = ["run", "progress", "queue", "object", "job", "agent", "host", "repository", "lost"];
const AGAIN = 10000;
const BEAT = 5000;

// tell: hands a message to every page: {topic, key}, {away: since when}, {here: true}, {ended: true}, {beat: true}.
const hearNews = (tell) => {
  let source = null; // the stream, while there is one
  let address = "";
  let kept = []; // the latest news, for pages that were drawn before they came
  let from = ""; // the mark behind which all news are kept
  let heard = ""; // the mark of the last one
  let away = null; // since when the hub does not answer
  let polling = null;
  let ended = false; // whether the session has ended, and what came since was not heard

  const numbered = (mark) => { const cut = mark.lastIndexOf("-"); return [mark.slice(0, cut), Number(mark.slice(cut + 1))]; };
  const hear = (event) => {
    const news = { topic: event.type, key: JSON.parse(event.data).key, mark: event.lastEventId };
    heard = news.mark;
    if (news.topic === "lost") { kept = []; from = heard; } else kept.push(news);
    if (kept.length > MOST_KEPT) from = kept.shift().mark;
    tell(news);
  };
  const open = () => {
    close();
    source = new EventSource(`${address}?since=${encodeURIComponent(heard)}`);
    for (const topic of TOPICS) source.addEventListener(topic, hear);
    source.addEventListener("open", () => {
      clearInterval(polling);
      polling = away = null;
      tell({ here: true });
      if (ended) tell({ topic: "lost" });
      ended = false;
    });
    // It goes on by itself behind the last that was heard, unless it was refused.
    source.addEventListener("error", () => {
      away ??= Date.now();
      polling ??= setInterval(poll, AGAIN);
      if (source?.readyState === EventSource.CLOSED) poll();
    });
  };
  const close = () => {
    source?.close();
    clearInterval(polling);
    source = polling = away = null;
  };
  // Why there is no stream: the hub is away, the session has ended, or something on the way lets no stream through.
  const poll = async () => {
    const status = await fetch(new URL("me", new URL(address, self.location.href))).then((answer) => answer.status, () => 0);
    if (!away) return;
    if (status === 401) { close(); ended = true; tell({ ended }); return; }
    if (status === 0 || status >= 500) { tell({ away }); return; }
    tell({ here: true });
    tell({ topic: "lost" });
    if (source?.readyState === EventSource.CLOSED) open();
  };

  return {
    // A page has come, or is looked at again: what was told since it was drawn, it hears at once.
    join: (stream, answer) => {
      const drawn = new URL(stream, self.location.href);
      const mark = drawn.searchParams.get("since") ?? "";
      if (!source) {
        address = drawn.pathname;
        kept = [];
        from = heard = mark;
        open();
        return;
      }
      const [life, number] = numbered(mark);
      const [ours, first] = numbered(from);
      if (away) answer({ away });
      if (life !== ours || number < first) answer({ topic: "lost" });
      else for (const news of kept) if (numbered(news.mark)[1] > number) answer(news);
    },
    close,
    mark: () => heard,
  };
};

if (self.SharedWorkerGlobalScope) {
  const pages = new Set();
  const tellAll = (message) => { for (const page of pages) page.postMessage(message); };
  const news = hearNews(tellAll);
  setInterval(() => tellAll({ beat: true }), BEAT);
  self.addEventListener("connect", ({ ports: [page] }) => {
    pages.add(page);
    page.addEventListener("message", ({ data }) => {
      if (data.join) { pages.add(page); news.join(data.join, (message) => page.postMessage(message)); }
      if (data.left) pages.delete(page);
      if (!pages.size) news.close();
    });
    page.start();
  });
} else {
  self.hearNews = hearNews;
}

// Connections that outlast the network: the one of each page, and those of rooms.
"use strict";

const DELAY_MS = { first: 500, longest: 30_000 };
const PING_MS = 25_000; // a connection that says nothing for so long is asked whether it lives,
const ANSWER_MS = 10_000; // and given up when it does not answer within this

/**
 * A WebSocket that comes back: `address` is asked for anew each time, `hear` gets each frame.
 * `page` is a page that is refused to whom the socket is refused.
 */
export class Live {
  constructor({ address, hear, page = location.href, state = () => {} }) {
    Object.assign(this, { address, hear, page, state, attempts: 0, socket: null, timers: {} });
    addEventListener("online", () => this.open());
    addEventListener("offline", () => this.lose());
    this.open();
  }

  open() {
    if (this.socket) return;
    this.watch();
    const url = new URL(this.address(), location);
    url.protocol = url.protocol.replace("http", "ws");
    const socket = (this.socket = new WebSocket(url));
    socket.onmessage = ({ data }) => {
      if (this.socket !== socket) return;
      this.attempts = 0;
      this.watch();
      this.hear(JSON.parse(data));
    };
    socket.onclose = ({ code }) => this.socket === socket && this.lose(code);
  }

  send(frame) {
    if (this.socket?.readyState !== WebSocket.OPEN) return false;
    this.socket.send(JSON.stringify(frame));
    return true;
  }

  /** The connection is gone, or not worth waiting for. Try again later, each time later still. */
  async lose(code) {
    const socket = this.socket;
    this.socket = null;
    socket?.close();
    this.clear();
    this.state(navigator.onLine ? "lost" : "offline");
    const delay = Math.min(DELAY_MS.longest, DELAY_MS.first * 2 ** this.attempts++);
    this.timers.open = setTimeout(() => this.open(), delay * (0.5 + Math.random() / 2));
    if (code && navigator.onLine) await reloadIfRefused(this.page);
  }

  watch() {
    this.clear();
    this.timers.ping = setTimeout(() => {
      this.send({ type: "present" });
      this.timers.answer = setTimeout(() => this.lose(), ANSWER_MS);
    }, PING_MS);
  }

  clear() {
    Object.values(this.timers).forEach(clearTimeout);
  }
}

let reloading = false; // a page of several sockets is loaded anew once

/** A socket that is refused says no reason. The page does: logged out, or no member any more. */
async function reloadIfRefused(page) {
  try {
    const answer = await fetch(page, { method: "HEAD", redirect: "manual" });
    if (reloading || (answer.type !== "opaqueredirect" && answer.status !== 404)) return;
    reloading = true;
    location.reload();
  } catch {
    // Nobody answers: the network or the server is away, and the socket is tried again.
  }
}

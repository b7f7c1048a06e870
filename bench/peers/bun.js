// Bun's publish/subscribe, which is uWebSockets' own: every message of a connection to /publish goes to all of
// /subscribe. Usage: bun bun.js PORT
const server = Bun.serve({
  hostname: "127.0.0.1",
  port: Number(process.argv[2]),
  fetch(request, server) {
    const publisher = new URL(request.url).pathname === "/publish";
    if (server.upgrade(request, { data: { publisher } })) return;
    return new Response("this is a WebSocket server\n", { status: 426 });
  },
  websocket: {
    idleTimeout: 0,
    perMessageDeflate: false,
    // As large as it takes: what cannot be sent yet must be late, not lost.
    backpressureLimit: 64 * 1024 * 1024,
    open(socket) {
      if (!socket.data.publisher) socket.subscribe("all");
    },
    message(socket, message) {
      if (socket.data.publisher) server.publish("all", message);
    },
  },
});

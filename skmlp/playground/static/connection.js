// The socket: opens it, opens it again when it closed, and unpacks frames.

const TYPES = { uint8: Uint8Array, float32: Float32Array };

export function unpack(buffer) {
  const length = new DataView(buffer).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  let offset = 4 + length;
  header.content = {};
  header.shapes = {};
  for (const { name, type, shape } of header.arrays) {
    const count = shape.reduce((a, b) => a * b, 1);
    const bytes = count * TYPES[type].BYTES_PER_ELEMENT;
    header.content[name] = new TYPES[type](buffer.slice(offset, offset + bytes));
    header.shapes[name] = shape;
    offset += bytes;
  }
  return header;
}

export class Connection {
  constructor({ opened, closed, received }) {
    Object.assign(this, { opened, closed, received });
    this.wait = 300;
    this.open();
  }

  open() {
    const address = new URL("socket", location.href);
    address.protocol = "ws:";
    address.hash = "";
    this.socket = new WebSocket(address);
    this.socket.binaryType = "arraybuffer";
    this.socket.onopen = () => {
      this.wait = 300;
      this.opened();
    };
    this.socket.onmessage = ({ data }) =>
      this.received(typeof data === "string" ? JSON.parse(data) : unpack(data));
    this.socket.onclose = ({ code, reason }) => {
      this.closed(code === 4001 ? reason : "");
      setTimeout(() => this.open(), this.wait);
      this.wait = Math.min(2 * this.wait, 5000);
    };
  }

  send(type, fields = {}) {
    if (this.socket.readyState !== WebSocket.OPEN) return false;
    this.socket.send(JSON.stringify({ type, ...fields }));
    return true;
  }
}

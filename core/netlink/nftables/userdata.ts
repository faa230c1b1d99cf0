/** Comments, which the kernel keeps for us as opaque bytes: u8 kind, u8 length, content; as libnftnl lays them out. */
import { NetlinkError } from '../errors.ts';

/** nft itself refuses longer ones: NFTNL_UDATA_COMMENT_MAXLEN. */
export const LONGEST_COMMENT_BYTES = 120;

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** @throws NetlinkError KP_NETLINK_INVALID: longer than 120 bytes or with a NUL inside. */
export function commentUserdata(kind: number, comment: string): Uint8Array {
  const text = encoder.encode(comment);
  if (text.length > LONGEST_COMMENT_BYTES || text.includes(0)) {
    throw new NetlinkError({
      code: 'KP_NETLINK_INVALID',
      text: `cannot encode a comment of ${text.length} bytes or with a NUL inside: ${JSON.stringify(comment)}`,
      remedy: `shorten it to ${LONGEST_COMMENT_BYTES} bytes of UTF-8`,
    });
  }
  const bytes = new Uint8Array(2 + text.length + 1);
  bytes[0] = kind;
  bytes[1] = text.length + 1;
  bytes.set(text, 2);
  return bytes;
}

/** The comment of that kind; "" if there is none, or if the bytes are another program's and mean something else. */
export function userdataComment(kind: number, bytes: Uint8Array): string {
  for (let at = 0; at + 2 <= bytes.length; ) {
    const length = bytes[at + 1] ?? 0;
    const content = bytes.subarray(at + 2, at + 2 + length);
    if (bytes[at] === kind) {
      const end = content.indexOf(0);
      return decoder.decode(end < 0 ? content : content.subarray(0, end));
    }
    at += 2 + length;
  }
  return '';
}

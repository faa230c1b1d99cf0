/**
 * Generic netlink (linux/genetlink.h): families that are looked up by name, because their message types are given out
 * when they register. A message is
 *
 *   struct nlmsghdr (type = the family's id)   struct genlmsghdr { command u8, version u8, reserved u16 }   attributes …
 *
 * Looking a family up makes the kernel load its module, if that declares to be one's
 * (MODULE_ALIAS_GENL_FAMILY, "net-pf-16-proto-16-family-NAME"): by its own modprobe, so that none is needed here.
 */
import { attributesByType, attributeU16, attributeU32 } from './attributes.ts';
import { malformed, NetlinkError } from './errors.ts';
import type { Message } from './message.ts';
import type { Conversation } from './request.ts';
import type { MessageWriter } from './writer.ts';

/** The family of the families; the only one whose id is fixed. */
const GENL_ID_CTRL = 16;
const CTRL_VERSION = 1;
const CTRL_CMD_GETFAMILY = 3;
const CTRL_ATTR_FAMILY_ID = 1;
const CTRL_ATTR_FAMILY_NAME = 2;
const CTRL_ATTR_VERSION = 3;

/** struct genlmsghdr. */
const HEADER_BYTES = 4;

export interface GenericFamily {
  /** Its message type. Another one after its module was loaded again. */
  readonly id: number;
  readonly version: number;
}

/** Undefined: the kernel has no such family, nor a module that it knows to be one's. */
export function findFamily(conversation: Conversation, name: string): GenericFamily | undefined {
  let family: GenericFamily | undefined;
  const operation = 'generic netlink family';
  try {
    conversation.request(
      {
        operation,
        object: name,
        type: GENL_ID_CTRL,
        write(writer) {
          writeGenericHeader(writer, CTRL_CMD_GETFAMILY, CTRL_VERSION);
          writer.text(CTRL_ATTR_FAMILY_NAME, name);
        },
      },
      (reply) => {
        family = parseFamily(genericAttributes(reply));
      },
    );
  } catch (error) {
    if (error instanceof NetlinkError && error.errno === 'ENOENT') return undefined;
    throw error;
  }
  if (family === undefined) throw malformed(`no description of family ${name}`);
  return family;
}

export function writeGenericHeader(writer: MessageWriter, command: number, version: number): void {
  writer.raw(Uint8Array.of(command, version, 0, 0));
}

/** A message's attributes, as bytes for parseAttributes. */
export function genericAttributes({ payload }: Message): Uint8Array {
  if (payload.length < HEADER_BYTES) throw malformed(`a generic netlink message of ${payload.length} bytes`);
  return payload.subarray(HEADER_BYTES);
}

function parseFamily(bytes: Uint8Array): GenericFamily {
  const attributes = attributesByType(bytes);
  const id = attributes.get(CTRL_ATTR_FAMILY_ID);
  const version = attributes.get(CTRL_ATTR_VERSION);
  if (id === undefined || version === undefined) throw malformed('a family without an id or a version');
  return { id: attributeU16(id), version: attributeU32(version) };
}

/** What the virtual machine has in it. A change of anything here makes a new image. */

/** Programs and libraries of the same suite whatever the host's is, so that results do not differ with the host. */
export const SUITE = 'bookworm';

/** With all that they depend on. */
export const PACKAGES: readonly string[] = [
  'linux-image-cloud-amd64',
  'bash',
  'busybox-static',
  'conntrack',
  'dash',
  'iproute2',
  'ipset',
  'iptables',
  'ipvsadm',
  'kmod',
  'libstdc++6',
  'mount',
  'netbase',
  'nftables',
  'openssl',
  'procps',
  'util-linux',
];

/** Programs by name; what is asked for beyond these comes from busybox. */
export const PROGRAMS: readonly string[] = [
  ...['bash', 'busybox', 'conntrack', 'dash', 'ip', 'bridge', 'ss', 'tc', 'ipset', 'ipvsadm', 'nft', 'openssl'],
  ...['depmod', 'insmod', 'kmod', 'lsmod', 'modinfo', 'modprobe', 'rmmod'],
  ...['mount', 'nsenter', 'setpriv', 'umount', 'unshare', 'ps', 'sysctl'],
  ...['', '-save', '-restore'].flatMap((verb) =>
    ['iptables', 'ip6tables'].flatMap((name) => ['-nft', '-legacy'].map((form) => `${name}${form}${verb}`)),
  ),
];

/** As update-alternatives(1) and dash's scripts would make them. */
export const LINKS: Readonly<Record<string, string>> = {
  sh: 'dash',
  ...Object.fromEntries(
    ['', '-save', '-restore'].flatMap((verb) =>
      ['iptables', 'ip6tables'].map((name) => [`${name}${verb}`, `${name}-nft${verb}`]),
    ),
  ),
};

/** Loaded by name at run time, so no program says that it needs them. */
export const LIBRARY_FOLDERS: readonly string[] = ['usr/lib/x86_64-linux-gnu/xtables'];

export const CONFIGURATION: readonly string[] = ['etc/protocols', 'etc/services', 'etc/iproute2', 'etc/ethertypes'];

/** Of the kernel's modules; see selectModules. Not SCTP itself, which would answer what tests send by raw sockets. */
export const MODULES: readonly string[] = [
  ...['802', '8021q', 'bridge', 'core', 'ipv4', 'ipv6', 'llc', 'netfilter', 'netlink', 'packet', 'sched'].map(
    (folder) => `kernel/net/${folder}/`,
  ),
  ...['dummy', 'ifb', 'tun', 'veth', 'vrf'].map((name) => `kernel/drivers/net/${name}`),
  'kernel/drivers/net/ipvlan/',
  'kernel/drivers/net/macvlan',
  'kernel/drivers/net/vxlan/',
  'kernel/net/unix/unix_diag',
  'kernel/drivers/virtio/virtio_pci',
  'kernel/drivers/char/virtio_console',
  'kernel/arch/x86/crypto/crc32c-intel',
];

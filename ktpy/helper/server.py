"""The helper serves one request after the other, and undoes everything in the end.

It is single-threaded and blocks on purpose: no request takes long, none is interrupted half way, and the undoing,
which must not fail, is a straight line.
"""

import contextlib
import errno
import os
import select
import signal
import socket
import syslog
import traceback
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface, ip_address

from pyroute2 import NetlinkError

from ktpy.errors import HelperFailed, KtpyError, RangeOverlap, TunUnavailable
from ktpy.helper import changes, dns_sockets, flow_program, resolver, routes, tun
from ktpy.helper.journal import Journal, open_all_stale, undo_all
from ktpy.helper.protocol import (
    AddRoutes,
    BindDns,
    DetectResolver,
    DnsBound,
    Failed,
    Hello,
    KeepOutside,
    KeptOutside,
    ListLocalNetworks,
    LocalNetworks,
    OpenTun,
    Recover,
    Recovered,
    Reply,
    Request,
    Resolver,
    ResolverSet,
    RestoreRoutes,
    RoutesAdded,
    RoutesRestored,
    SetResolver,
    TunOpened,
    UndoAll,
    Undone,
    decode_request,
    encode,
    receive_packet,
    send_packet,
)
from ktpy.helper.resolv_conf import DNS_LOOPBACK
from ktpy.helper.routable import refusal_together
from ktpy.helper.wire import Address, MessageError, Network

TUN_LIMIT = 64
"""This many connects may run at once on one machine: ktpy0 to ktpy63."""


class Helper:
    """A Helper serves one main process until it goes."""

    def __init__(self, sock: socket.socket, owner_uid: int, remark: str | None = None) -> None:
        self._socket = sock
        self._owner_uid = owner_uid
        self._hello = Hello(os.getpid(), owner_uid, remark)
        self._open_journal: Journal | None = None
        self._tun: TunOpened | None = None
        self._routed: set[Network] = set()
        self._outside: dict[Address, str] = {}
        self._resolver: Resolver | None = None
        self._dns_addresses: set[Address] = set()

    def run(self) -> bool:
        """Serve until end of file, SIGTERM or `UndoAll`, then undo; return False when something could not be undone."""
        wanted_report = False
        try:
            with _termination() as terminated:
                self._greet()
                wanted_report = self._serve(terminated)
        except (BrokenPipeError, ConnectionResetError):
            pass  # the main process is gone: the same as end of file
        finally:
            report = self._undo()
        if wanted_report:
            with contextlib.suppress(OSError):
                self._send(report)
        elif report.failures:
            _complain(f"ktpy could not undo: {'; '.join(report.failures)}. Try again with: sudo ktpy clean")
        return not report.failures

    def _greet(self) -> None:
        self._send(self._hello)

    def _serve(self, terminated: socket.socket) -> bool:
        poller = select.poll()
        poller.register(self._socket, select.POLLIN)
        poller.register(terminated, select.POLLIN)
        while True:
            ready = {descriptor for descriptor, _ in poller.poll()}
            if terminated.fileno() in ready:
                return False
            try:
                packet, descriptors = receive_packet(self._socket)
                if not packet:
                    return False
                request = _decode(packet, descriptors)
            except MessageError as exc:
                self._send(Failed.of(HelperFailed(f"The helper refused a request: {exc}.")))
                continue
            if isinstance(request, UndoAll):
                return True
            reply, descriptors = self._answer(request)
            self._send(reply, descriptors)

    def _answer(self, request: Request) -> tuple[Reply, tuple[int, ...]]:
        try:
            return self._do(request)
        except KtpyError as exc:
            return Failed.of(exc), ()
        except (NetlinkError, OSError) as exc:
            return Failed.of(HelperFailed(f"The helper could not do {type(request).__name__}: {exc}.")), ()
        except Exception:  # a bug: the main process hears of it, and all is undone later as usual
            _complain(traceback.format_exc())
            return Failed.of(HelperFailed(f"The helper failed unexpectedly in {type(request).__name__}.")), ()

    def _do(self, request: Request) -> tuple[Reply, tuple[int, ...]]:
        match request:
            case Recover():
                return recover(), ()
            case ListLocalNetworks():
                return LocalNetworks(tuple(routes.local_networks(self._alias() if self._tun else None))), ()
            case OpenTun():
                return self._open_tun(request)
            case KeepOutside():
                self._outside = dict.fromkeys(request.addresses, "the way to the API server")
                return KeptOutside(), ()
            case AddRoutes():
                return self._add_routes(request), ()
            case RestoreRoutes():
                return RoutesRestored(routes.restore_routes(self._require_tun(), self._routed)), ()
            case BindDns():
                return self._bind_dns(request)
            case DetectResolver():
                return self._detect_resolver(), ()
            case SetResolver():
                return self._set_resolver(request), ()
        raise HelperFailed(f"The helper does not know {type(request).__name__}.")

    # --- requests

    def _open_tun(self, request: OpenTun) -> tuple[Reply, tuple[int, ...]]:
        if self._tun is not None:
            raise HelperFailed(f"The helper has opened {self._tun.name} already; it opens one TUN device.")
        names, addresses = routes.link_names(), routes.local_addresses()
        for number in range(TUN_LIMIT):
            planned = plan_tun(number, request.mtu_bytes)
            # 198.18.0.0/15 is popular with other tunnels: avoid a range in which the machine has an address.
            if planned.name in names or any(address in planned.address4.network for address in addresses):
                continue
            with contextlib.suppress(tun.InterfaceNameTaken):
                self._tun, descriptors = self._make_tun(planned)
                return self._tun, descriptors
        raise TunUnavailable(f"ktpy0 to ktpy{TUN_LIMIT - 1} are all taken; nothing was changed.")

    def _make_tun(self, planned: TunOpened) -> tuple[TunOpened, tuple[int, ...]]:
        """Return it with its descriptor and, where the kernel turns packets round, that of the map of its flows."""
        alias = self._alias()
        with (
            contextlib.ExitStack() as on_failure,
            changes.recorded(self._journal(), changes.TunDevice(planned.name, alias)),
        ):
            descriptor = tun.open_device(planned.name)
            on_failure.callback(os.close, descriptor)
            try:
                opened = routes.set_up_link(planned, alias)
            except NetlinkError as exc:
                raise TunUnavailable(f"The kernel refuses to set up {planned.name}: {exc}; ktpy removed it.") from exc
            descriptors = [descriptor]
            with contextlib.suppress(OSError, NetlinkError):  # else each packet goes through the main process
                descriptors.append(flow_program.attach(opened.interface_index))
            on_failure.pop_all()
        return opened, tuple(descriptors)

    def _add_routes(self, request: AddRoutes) -> RoutesAdded:
        opened = self._require_tun()
        if opened.address6 is None and any(network.version == 6 for network in request.networks):
            raise HelperFailed("IPv6 is disabled on this machine, so there can be no IPv6 routes.")
        # Routes of earlier requests stay out of it: a failure must undo this request alone.
        networks = dict.fromkeys(network for network in request.networks if network not in self._routed)
        name_servers = dict.fromkeys(self._name_servers(), "a name server of this machine")
        if (refusal := refusal_together([*self._routed, *networks], name_servers | self._outside)) is not None:
            raise RangeOverlap(
                f"The helper added no route: {refusal}.", hint="Leave out what need not be routed: --exclude RANGE"
            )
        # No entry of the journal: the TUN device has one, and takes its routes with it.
        routes.add_routes(opened.interface_index, networks)
        self._routed.update(networks)
        return RoutesAdded()

    def _name_servers(self) -> Iterator[Address]:
        """Yield the name servers that the machine had when it was last looked at, whatever the main process says."""
        for text in (self._resolver or self._detect_resolver()).nameservers:
            with contextlib.suppress(ValueError):  # glibc skips what is no address
                yield ip_address(text.partition("%")[0])

    def _detect_resolver(self) -> Resolver:
        self._resolver = resolver.detect()
        return self._resolver

    def _bind_dns(self, request: BindDns) -> tuple[Reply, tuple[int, ...]]:
        own = {self._tun.address4.ip, self._tun.address6 and self._tun.address6.ip} if self._tun else set()
        for address in request.addresses:
            if address not in own and address not in DNS_LOOPBACK:
                raise HelperFailed(f"The helper binds port 53 on {DNS_LOOPBACK} and its TUN, not on {address}.")
        with contextlib.ExitStack() as on_failure:
            sockets = [
                on_failure.enter_context(sock) for address in request.addresses for sock in dns_sockets.bind(address)
            ]
            on_failure.pop_all()
        self._dns_addresses.update(request.addresses)
        return DnsBound(request.addresses), tuple(sock.detach() for sock in sockets)

    def _set_resolver(self, request: SetResolver) -> ResolverSet:
        opened = self._require_tun()
        if not self._dns_addresses.issuperset(request.nameservers):
            raise HelperFailed("The helper makes only those addresses name servers on which it bound port 53.")
        return ResolverSet(resolver.set_up(self._journal(), request, opened.name, self._alias()))

    # --- state

    def _require_tun(self) -> TunOpened:
        if self._tun is None:
            raise HelperFailed("The helper has no TUN device yet.")
        return self._tun

    def _journal(self) -> Journal:
        """Return the journal, created with the first change: a helper that only recovers writes none."""
        if self._open_journal is None:
            self._open_journal = Journal.create(self._owner_uid)
        return self._open_journal

    def _alias(self) -> str:
        return routes.ALIAS_PREFIX + self._journal().journal_id

    def _undo(self) -> Undone:
        if self._open_journal is None:
            return Undone("", (), (), ())
        return _undone(self._open_journal)

    def _send(self, reply: Reply, descriptors: tuple[int, ...] = ()) -> None:
        """Send a reply and close our copies of its descriptors, so that the TUN device goes with the main process."""
        try:
            send_packet(self._socket, encode(reply), descriptors)
        except OSError as exc:
            if exc.errno != errno.EMSGSIZE:
                raise
            send_packet(self._socket, encode(Failed.of(HelperFailed("The helper's reply is too long."))))
        finally:
            for descriptor in descriptors:
                os.close(descriptor)


def recover() -> Recovered:
    """Replay the journals of helpers that were killed."""
    journals, unreadable = open_all_stale()
    replayed = [_undone(journal) for journal in journals]
    return Recovered((*replayed, *(Undone("", (), (), (complaint,)) for complaint in unreadable)))


def _undone(journal: Journal) -> Undone:
    undone, left, failures = undo_all(journal, changes.undo)
    return Undone(journal.journal_id, tuple(undone), tuple(left), tuple(failures))


def plan_tun(number: int, mtu_bytes: int) -> TunOpened:
    """Plan a TUN with addresses of TUN_ADDRESSES."""
    return TunOpened(
        name=f"ktpy{number}",
        number=number,
        interface_index=0,
        mtu_bytes=mtu_bytes,
        address4=IPv4Interface(f"198.18.{number}.1/30"),
        peer4=IPv4Address(f"198.18.{number}.2"),
        address6=IPv6Interface(f"fd6b:7470:79:{number:x}::1/126"),
        peer6=IPv6Address(f"fd6b:7470:79:{number:x}::2"),
    )


def _decode(packet: bytes, descriptors: tuple[int, ...]) -> Request:
    for descriptor in descriptors:
        os.close(descriptor)
    if descriptors:
        raise MessageError("no request brings descriptors")
    return decode_request(packet)


@contextlib.contextmanager
def _termination() -> Iterator[socket.socket]:
    """Yield a socket that turns readable at SIGTERM, so that it ends the helper only between two requests.

    SIGTERM is ignored after the block, because undoing has begun.
    """
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    signal.signal(signal.SIGTERM, lambda _number, _frame: None)
    try:
        yield reader
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.set_wakeup_fd(-1)
        reader.close()
        writer.close()


def _complain(text: str) -> None:
    """Write to standard error and, because nobody may read that any more, to the system log."""
    with contextlib.suppress(OSError):
        os.write(2, text.encode() + b"\n")
    syslog.syslog(syslog.LOG_ERR, text)

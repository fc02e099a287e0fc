//! `[vip.health]`: how the servers of a VIP are checked.

use super::super::reader::TableReader;
use super::super::types::{Health, HealthKind, Protocol};
use super::super::values;

/// Reads the table of one `[[vip]]`; `None`: it has none.
pub(super) fn health(vip: &TableReader<'_>, protocol: Protocol, vip_port: Option<u16>) -> Option<Health> {
    let table = vip.table("health");
    if !vip.has("health") {
        return None;
    }
    let kind = table.word("kind", HealthKind::from_word);
    let port = table.integer("port").map(|p| p.value);
    let (interval, timeout) = (table.duration("interval"), table.duration("timeout"));
    let (rise, fall) = (table.integer("rise"), table.integer("fall"));
    let path = table.parsed("path", values::http_path);
    let host = table.parsed("host", values::http_host);
    let passive = table.boolean("passive");
    table.finish();

    let (kind, interval, timeout) = (kind?.value, interval?, timeout?);
    let report = vip.report;
    if timeout.value > interval.value {
        // The place of what was written; a default has the table's.
        let at = if table.has("timeout") { &timeout.span } else { &interval.span };
        let longest = values::show_duration(interval.value);
        report.error_across(
            at,
            format!(
                "a check may take {}, and the next one begins after {longest}",
                values::show_duration(timeout.value)
            ),
            format!("write timeout = \"{longest}\" or less, or a longer interval"),
        );
    }
    if kind != HealthKind::None && port.is_none() {
        match (vip_port, protocol) {
            (None, _) => report.error_across(
                &table.span(),
                "there is no port to check: the VIP takes every port",
                "write port = 80 in [vip.health], with a TCP port that every server listens to",
            ),
            (Some(port), Protocol::Udp) => report.warning(
                &table.span(),
                format!("the checks of this UDP service need TCP: they go to port {port} of TCP"),
                "write the TCP port that tells whether the server is well, like port = 8080",
            ),
            _ => {}
        }
    }
    for key in ["path", "host"].into_iter().filter(|key| table.has(key)) {
        if let (true, Some(span)) = (kind != HealthKind::Http, table.key_span(key)) {
            let message = format!("{key:?} does nothing with kind = \"{kind}\"");
            report.warning(&span, message, "write kind = \"http\", or leave it out");
        }
    }
    if let (true, true, Some(span)) =
        (protocol != Protocol::Tcp, passive.as_ref().is_some_and(|p| p.value), table.key_span("passive"))
    {
        let message =
            format!("passive checks need TCP's handshake, and this VIP has protocol = \"{protocol}\"");
        report.warning(&span, message, "leave it out");
    }
    Some(Health {
        kind,
        port,
        interval: interval.value,
        timeout: timeout.value,
        rise: rise?.value,
        fall: fall?.value,
        path: path?.value,
        host: host.map(|h| h.value),
        passive: passive?.value && protocol == Protocol::Tcp,
    })
}

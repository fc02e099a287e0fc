//! TensorBoard's event files: records of scalars.
//!
//! A record is its length, a masked CRC-32C of that, its bytes, and a masked CRC-32C of these. The bytes are the protocol
//! buffer `Event { 1: wall_time double, 2: step int64, 3: file_version string, 5: summary { 1: value { 1: tag, 2: simple_value
//! float } } }`. Source: TensorFlow's `record_writer` and `event.proto`.

use std::io::{self, Write};

use crc::{CRC_32_ISCSI, Crc};

const CRC32C: Crc<u32> = Crc::<u32>::new(&CRC_32_ISCSI);

/// Writes scalars.
#[derive(Debug)]
pub struct Events<W> {
    out: W,
}

impl<W: Write> Events<W> {
    /// Begins a file. `wall` is the time in seconds since 1970, as below.
    pub fn begin(out: W, wall: f64) -> io::Result<Self> {
        let mut events = Self { out };
        let mut event = Vec::new();
        double(&mut event, 1, wall);
        bytes(&mut event, 3, b"brain.Event:2");
        events.record(&event)?;
        Ok(events)
    }

    /// Adds scalars at a step.
    pub fn scalars<'a>(
        &mut self,
        wall: f64,
        step: u64,
        scalars: impl IntoIterator<Item = (&'a str, f64)>,
    ) -> io::Result<()> {
        let mut summary = Vec::new();
        for (tag, number) in scalars {
            let mut value = Vec::new();
            bytes(&mut value, 1, tag.as_bytes());
            key(&mut value, 2, FIXED32);
            value.extend((number as f32).to_le_bytes());
            bytes(&mut summary, 1, &value);
        }
        let mut event = Vec::new();
        double(&mut event, 1, wall);
        key(&mut event, 2, VARINT);
        varint(&mut event, step);
        bytes(&mut event, 5, &summary);
        self.record(&event)
    }

    fn record(&mut self, event: &[u8]) -> io::Result<()> {
        let length = (event.len() as u64).to_le_bytes();
        self.out.write_all(&length)?;
        self.out.write_all(&masked(&length).to_le_bytes())?;
        self.out.write_all(event)?;
        self.out.write_all(&masked(event).to_le_bytes())?;
        self.out.flush()
    }
}

/// A checksum that does not look like one, so that a record may hold records.
fn masked(bytes: &[u8]) -> u32 {
    CRC32C.checksum(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// Wire types of protocol buffers.
const VARINT: u64 = 0;
const FIXED64: u64 = 1;
const LENGTH: u64 = 2;
const FIXED32: u64 = 5;

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn key(out: &mut Vec<u8>, field: u64, wire: u64) {
    varint(out, field << 3 | wire);
}

fn double(out: &mut Vec<u8>, field: u64, value: f64) {
    key(out, field, FIXED64);
    out.extend(value.to_le_bytes());
}

fn bytes(out: &mut Vec<u8>, field: u64, value: &[u8]) {
    key(out, field, LENGTH);
    varint(out, value.len() as u64);
    out.extend(value);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes that TensorFlow's own writer makes of the same.
    #[test]
    fn records_are_those_of_the_format() {
        let mut file = Vec::new();
        Events::begin(&mut file, 1.0).unwrap().scalars(2.0, 300, [("a/b", 0.5)]).unwrap();
        let (first, second) = file.split_at(8 + 4 + 24 + 4);
        assert_eq!(first[..8], 24_u64.to_le_bytes());
        assert_eq!(&first[12..36], b"\x09\0\0\0\0\0\0\xf0\x3f\x1a\x0dbrain.Event:2");
        let event = b"\x09\0\0\0\0\0\0\0\x40\x10\xac\x02\x2a\x0c\x0a\x0a\x0a\x03a/b\x15\0\0\0\x3f";
        assert_eq!(second[..8], (event.len() as u64).to_le_bytes());
        assert_eq!(&second[12..12 + event.len()], event);
        for record in [first, second] {
            let length = u64::from_le_bytes(record[..8].try_into().unwrap()) as usize;
            let sum = |bytes: &[u8]| masked(bytes).to_le_bytes();
            assert_eq!(record[8..12], sum(&record[..8]));
            assert_eq!(record[12 + length..], sum(&record[12..12 + length]));
        }
    }

    /// The check value of CRC-32C (RFC 3720, B.4), masked.
    #[test]
    fn checksums_are_castagnolis_and_masked() {
        assert_eq!(CRC32C.checksum(b"123456789"), 0xe306_9283);
        assert_eq!(masked(b"123456789"), 0xe306_9283_u32.rotate_right(15).wrapping_add(0xa282_ead8));
    }
}

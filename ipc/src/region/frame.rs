//! Frames: a header, then each VIP's record followed by those of its servers.
//!
//! A [`Frame`] is private memory. It is either being built, or a copy out of the region that was validated.

use std::{iter, marker::PhantomData};

use bytemuck::Pod;

use super::{
    error::Fault,
    layout::{Shape, record},
};

record! {
    /// In front of every frame.
    pub struct FrameHeader {
        /// Frames of a channel are numbered from 1 on, over all of its writers. Filled in when it is published.
        pub number: u64,
        /// The writer's epoch. Filled in when it is published.
        pub epoch: u64,
        /// When it was published, on the machine's monotonic clock. Filled in when it is published.
        pub published: u64,
        /// When it was measured, on the workers' clock; in weights, what the answered statistics said.
        pub t: u64,
        /// Of the tables; in weights, what the answered statistics said.
        pub generation: u64,
        /// Samples that were lost since the data plane's start; 0 in weights.
        pub lost: u64,
        /// How many VIPs follow.
        pub vips: u32,
        /// How many servers follow, of all VIPs together.
        pub servers: u32,
    }
}

const HEADER_WORDS: usize = size_of::<FrameHeader>() / 8;

/// What the frames of a channel are made of.
pub trait Content {
    /// A VIP's record.
    type Vip: Pod;
    /// A server's record.
    type Server: Pod;
    /// The channel's number in the region.
    const CHANNEL: usize;
    /// The channel's name.
    const NAME: &'static str;
    /// How many servers the VIP's record says that follow.
    fn servers(vip: &mut Self::Vip) -> &mut u32;
    /// Whether a VIP's record can be believed.
    fn check_vip(vip: &Self::Vip, servers: &[Self::Server], shape: Shape) -> Result<(), Fault>;
}

/// A frame in private memory.
#[derive(Debug)]
pub struct Frame<C> {
    words: Vec<u64>,
    content: PhantomData<fn() -> C>,
}

// By hand: a derived one would ask the same of the channel.
impl<C> Clone for Frame<C> {
    fn clone(&self) -> Self {
        Self { words: self.words.clone(), content: PhantomData }
    }
}

impl<C: Content> Default for Frame<C> {
    /// A frame without VIPs.
    fn default() -> Self {
        let mut frame = Self { words: Vec::new(), content: PhantomData };
        frame.begin(0, 0);
        frame
    }
}

impl<C: Content> Frame<C> {
    const VIP_WORDS: usize = size_of::<C::Vip>() / 8;
    const SERVER_WORDS: usize = size_of::<C::Server>() / 8;

    /// Starts over, without VIPs. `t` and `generation` as in [`FrameHeader`].
    pub fn begin(&mut self, t: u64, generation: u64) {
        self.words.clear();
        self.words.resize(HEADER_WORDS, 0);
        let header = self.header_mut();
        (header.t, header.generation) = (t, generation);
    }

    /// Appends a VIP; its servers are appended to what is returned. `servers` in the record is filled in.
    pub fn vip(&mut self, mut vip: C::Vip) -> Entry<'_, C> {
        *C::servers(&mut vip) = 0;
        self.header_mut().vips += 1;
        let at = self.words.len();
        self.words.extend_from_slice(words_of(&vip));
        Entry { frame: self, at }
    }

    /// The frame's header.
    pub fn header(&self) -> &FrameHeader {
        &bytemuck::cast_slice(&self.words[..HEADER_WORDS])[0]
    }

    /// The frame's header, to change.
    pub fn header_mut(&mut self) -> &mut FrameHeader {
        &mut bytemuck::cast_slice_mut(&mut self.words[..HEADER_WORDS])[0]
    }

    /// Every VIP with its servers.
    pub fn vips(&self) -> impl Iterator<Item = (&C::Vip, &[C::Server])> {
        let mut rest = &self.words[HEADER_WORDS..];
        iter::from_fn(move || {
            let (vip, servers, behind) = Self::split(rest)?;
            rest = behind;
            Some((vip, servers))
        })
    }

    /// The first VIP of these words, its servers, and the words behind; `None` if there are not enough words.
    #[expect(clippy::type_complexity, reason = "three borrows of one slice")]
    fn split(words: &[u64]) -> Option<(&C::Vip, &[C::Server], &[u64])> {
        let (vip, rest) = words.split_at_checked(Self::VIP_WORDS)?;
        let vip: &C::Vip = &bytemuck::cast_slice(vip)[0];
        let servers = *C::servers(&mut { *vip }) as usize;
        let (servers, behind) = rest.split_at_checked(servers.checked_mul(Self::SERVER_WORDS)?)?;
        Some((vip, bytemuck::cast_slice(servers), behind))
    }

    /// The frame as the words that the region would hold, little-endian.
    pub fn words(&self) -> &[u64] {
        &self.words
    }

    /// The frame that these words are, if they can be believed: lengths, counts, identifiers, every value.
    pub fn believe(words: &[u64], shape: Shape) -> Result<Self, Fault> {
        let frame = Self { words: words.to_vec(), content: PhantomData };
        let number = words.first().copied().unwrap_or(0); // a frame on its own may have any number
        frame.check(number, shape)?;
        Ok(frame)
    }

    /// Where a copy out of the region goes. Nothing else may be called until [`Frame::check`] has approved of it.
    pub(super) const fn words_mut(&mut self) -> &mut Vec<u64> {
        &mut self.words
    }

    /// Whether a copy out of the region can be believed: lengths, counts, identifiers, every value.
    pub(super) fn check(&self, number: u64, shape: Shape) -> Result<(), Fault> {
        let length = Fault::Length { words: self.words.len() };
        if self.words.len() < HEADER_WORDS {
            return Err(length);
        }
        let header = self.header();
        if header.number != number {
            return Err(Fault::Number { found: header.number });
        }
        at_most("VIPs", header.vips, shape.vips)?;
        at_most("servers", header.servers, shape.servers)?;
        let mut rest = &self.words[HEADER_WORDS..];
        let mut servers_left = header.servers;
        for _ in 0..header.vips {
            let (vip, servers, behind) = Self::split(rest).ok_or(length)?;
            servers_left = servers_left.checked_sub(servers.len() as u32).ok_or(Fault::Count {
                what: "servers of VIPs",
                found: servers.len() as u32,
                most: servers_left,
            })?;
            C::check_vip(vip, servers, shape)?;
            rest = behind;
        }
        if servers_left == 0 && rest.is_empty() { Ok(()) } else { Err(length) }
    }
}

/// A VIP of a frame that is being built.
#[derive(Debug)]
pub struct Entry<'a, C> {
    frame: &'a mut Frame<C>,
    at: usize,
}

impl<C: Content> Entry<'_, C> {
    /// Appends a server to the VIP.
    pub fn server(&mut self, server: C::Server) -> &mut Self {
        self.frame.words.extend_from_slice(words_of(&server));
        self.frame.header_mut().servers += 1;
        let end = self.at + Frame::<C>::VIP_WORDS;
        let vip: &mut C::Vip = &mut bytemuck::cast_slice_mut(&mut self.frame.words[self.at..end])[0];
        *C::servers(vip) += 1;
        self
    }
}

fn words_of<T: Pod>(record: &T) -> &[u64] {
    bytemuck::cast_slice(std::slice::from_ref(record))
}

/// Refuses more than `most`.
pub fn at_most(what: &'static str, found: u32, most: u32) -> Result<(), Fault> {
    if found > most { Err(Fault::Count { what, found, most }) } else { Ok(()) }
}

/// Refuses identifiers that do not exist.
pub fn id_below(what: &'static str, found: u32, below: u32) -> Result<(), Fault> {
    if found >= below { Err(Fault::Id { what, found, below }) } else { Ok(()) }
}

/// Refuses what is not a number from 0 to `most`.
pub fn in_range(what: &'static str, of: u32, found: f64, most: f64) -> Result<(), Fault> {
    if (0.0..=most).contains(&found) { Ok(()) } else { Err(Fault::Value { what, of, found }) }
}

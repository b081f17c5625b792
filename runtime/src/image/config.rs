//! `ImageConfig`: how instances of an image begin.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aura_host_abi::{Capability, GrantSpec, Terms};

use crate::buffer::SharedBuffer;
use crate::error::Result;
use crate::loan::Standing;
use crate::slot::Bound;
use crate::store::StoreLimits;

/// Makes a grant known to the host's data.
type Attach<T> = fn(&mut T, &Arc<Capability>) -> Result<()>;

/// How instances of an [`crate::Image`] begin. Every setting has a default.
pub struct ImageConfig<T: 'static> {
    pub(super) fuel: u64,
    pub(super) limits: Option<StoreLimits>,
    pub(super) grants: Vec<(GrantSpec, Terms)>,
    pub(super) attach: Option<Attach<T>>,
    open_handles: Option<fn(&T) -> Option<String>>,
    pub(super) idle_max: usize,
    pub(super) bound: Option<Bound>,
    pub(super) protects: bool,
    /// Bytes of the window; 0 for none.
    pub(super) window: u64,
    pub(super) lent: Vec<Standing>,
}

impl<T> Clone for ImageConfig<T> {
    fn clone(&self) -> Self {
        Self { limits: self.limits, grants: self.grants.clone(), lent: self.lent.clone(), ..*self }
    }
}

impl<T> fmt::Debug for ImageConfig<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ImageConfig").field("grants", &self.grants).field("bound", &self.bound).finish_non_exhaustive()
    }
}

impl<T> Default for ImageConfig<T> {
    fn default() -> Self {
        Self {
            fuel: 0,
            limits: None,
            grants: Vec::new(),
            attach: None,
            open_handles: None,
            idle_max: 256,
            bound: None,
            protects: true,
            window: 0,
            lent: Vec::new(),
        }
    }
}

impl<T> ImageConfig<T> {
    /// The default: no grants, no fuel, the engine's limits, as many slots as are wanted.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Fuel of each instance at its beginning, if the engine consumes fuel.
    pub fn fuel(&mut self, fuel: u64) -> &mut Self {
        self.fuel = fuel;
        self
    }

    /// What each instance may take, instead of [`crate::Config::store_limits`].
    pub fn limits(&mut self, limits: StoreLimits) -> &mut Self {
        self.limits = Some(limits);
        self
    }

    /// Grants every instance this from its beginning, anew for each: what one used up, another has whole.
    pub fn grant(&mut self, spec: GrantSpec, terms: Terms) -> &mut Self {
        self.grants.push((spec, terms));
        self
    }

    /// Says how the host's data is told of each grant, as [`crate::Store::on_grant`].
    pub fn on_grant(&mut self, attach: fn(&mut T, &Arc<Capability>) -> Result<()>) -> &mut Self {
        self.attach = Some(attach);
        self
    }

    /// Says what the host's data holds open that a snapshot cannot have: it is refused then, with this text.
    pub fn open_handles(&mut self, find: fn(&T) -> Option<String>) -> &mut Self {
        self.open_handles = Some(find);
        self
    }

    pub(crate) fn open_handles_of(&self, data: &T) -> Option<String> {
        self.open_handles.and_then(|find| find(data))
    }

    /// How many slots a thread keeps waiting for this image, 256 unless set; what comes back beyond is freed.
    pub fn idle_max(&mut self, slots: usize) -> &mut Self {
        self.idle_max = slots;
        self
    }

    /// How many instances may exist at once. One more is an error, or waits this long for another to be dropped. The slots
    /// then wait behind a lock, for every thread to find.
    pub fn slots_max(&mut self, slots: usize, wait: Option<Duration>) -> &mut Self {
        self.bound = Some(Bound { slots, wait });
        self
    }

    /// Whether pages that instances have not been seen to write are write-protected, so that only the written ones are taken
    /// back; `true` unless set. Without it every page is compared when an instance is dropped: for very many small ones.
    pub fn protect_pages(&mut self, on: bool) -> &mut Self {
        self.protects = on;
        self
    }

    /// Gives the memory of each instance a window for sharing of at least so many bytes, behind its last page: the memory
    /// that the module exports as `memory`, or its first. [`ImageInstance::window`] says where it is. What is lent in it
    /// is gone when the instance is; the window itself stays in the slot.
    ///
    /// [`ImageInstance::window`]: super::ImageInstance::window
    pub fn window(&mut self, bytes: u64) -> &mut Self {
        self.window = bytes;
        self
    }

    /// Lends a whole buffer to every instance, for reading, `at` bytes behind the start of the window. It is mapped once for
    /// each slot and stays there from one instance to the next: handing over what the host puts into it costs
    /// nothing but to pass its address and length ([`ImageInstance::lent`]), whatever the size. All instances see it, one
    /// after the other and at the same time: whatever is in it is for all of them. `spec` is of `map.read`; the grant is the image's, counts
    /// each slot as a use, and ends by [`Image::revoke_lent`].
    ///
    /// [`ImageInstance::lent`]: super::ImageInstance::lent
    /// [`Image::revoke_lent`]: super::Image::revoke_lent
    pub fn lend(&mut self, spec: GrantSpec, at: u64, buffer: &SharedBuffer) -> &mut Self {
        self.lent.push(Standing::new(spec, at, buffer));
        self
    }
}

//! Memories: size inline, growth and bulk operations by services. Loads and stores are rows.

use aura_host_abi::services::Service;
use aura_validator::code::Inst;
use cranelift_codegen::ir::InstBuilder;

use super::Body;

impl Body<'_> {
    pub(super) fn memory(&mut self, inst: &Inst) {
        match *inst {
            Inst::MemorySize { dst, memory } => {
                let length = self.memory_length(memory);
                let shift = u64::from(self.target.module.memories()[memory as usize].page_size_log2);
                let shift = self.emit.iconst64(shift);
                let pages = self.emit.ins().ushr(length, shift);
                self.set_index(self.is_memory64(memory), dst, pages);
            }
            Inst::MemoryGrow { dst, memory, delta } => {
                let is_64 = self.is_memory64(memory);
                let delta = self.get_index(is_64, delta);
                let memory = self.emit.iconst64(u64::from(memory));
                let old = self.emit.call_service(Service::memory_grow, &[memory, delta]);
                self.set_index(is_64, dst, old);
            }
            Inst::MemoryFill { memory, dst, byte, len } => {
                let is_64 = self.is_memory64(memory);
                let (dst, len) = (self.get_index(is_64, dst), self.get_index(is_64, len));
                let byte = self.get_u32(byte);
                let memory = self.emit.iconst64(u64::from(memory));
                self.emit.call_status(Service::memory_fill, &[memory, dst, byte, len]);
            }
            Inst::MemoryCopy { dst_memory, src_memory, dst, src, len } => {
                let (dst_64, src_64) = (self.is_memory64(dst_memory), self.is_memory64(src_memory));
                let (dst, src) = (self.get_index(dst_64, dst), self.get_index(src_64, src));
                let len = self.get_index(dst_64 && src_64, len);
                let dst_memory = self.emit.iconst64(u64::from(dst_memory));
                let src_memory = self.emit.iconst64(u64::from(src_memory));
                self.emit.call_status(Service::memory_copy, &[dst_memory, src_memory, dst, src, len]);
            }
            Inst::MemoryInit { memory, segment, dst, src, len } => {
                let dst = self.get_index(self.is_memory64(memory), dst);
                let (src, len) = (self.get_u32(src), self.get_u32(len));
                let (memory, segment) = (self.emit.iconst64(u64::from(memory)), self.emit.iconst64(u64::from(segment)));
                self.emit.call_status(Service::memory_init, &[memory, segment, dst, src, len]);
            }
            Inst::DataDrop { segment } => {
                let segment = self.emit.iconst64(u64::from(segment));
                self.emit.call_service(Service::data_drop, &[segment]);
            }
            ref inst => unreachable!("{inst:?} is not of memories"),
        }
    }

    pub(crate) fn is_memory64(&self, memory: u32) -> bool {
        self.target.module.memories()[memory as usize].memory64
    }
}

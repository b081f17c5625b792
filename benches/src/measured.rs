//! The inner loops of all contenders: the same text for each engine, compiled over its own types.

/// Makes a contender of an engine whose `Ready` has `new(&engine, wasm)` and `instance()`, which gives a store and an instance.
macro_rules! measured {
    ($contender:ident, $name:expr) => {
        impl crate::Contender for $contender {
            fn name(&self) -> &'static str {
                let name: fn(&Self) -> &'static str = $name;
                name(self)
            }

            fn first_result(&self, wasm: &[u8], function: &str, argument: i32) -> crate::Outcome<i32> {
                let (mut store, instance) = Ready::new(&self.engine, wasm)?.instance()?;
                let function = instance.get_typed_func::<i32, i32>(&mut store, function)?;
                Ok(function.call(&mut store, argument)?)
            }

            fn first_instance(&self, wasm: &[u8]) -> crate::Outcome<()> {
                Ready::new(&self.engine, wasm)?.instance()?;
                Ok(())
            }

            fn load(&self, wasm: &[u8]) -> crate::Outcome<Box<dyn crate::Loaded>> {
                Ok(Box::new(Ready::new(&self.engine, wasm)?))
            }
        }

        impl crate::Loaded for Ready {
            fn time_instantiations(&self, iterations: u64) -> crate::Outcome<std::time::Duration> {
                let start = std::time::Instant::now();
                for _ in 0..iterations {
                    std::hint::black_box(self.instance()?);
                }
                Ok(start.elapsed())
            }

            fn time_calls(
                &self,
                function: &str,
                argument: i32,
                iterations: u64,
            ) -> crate::Outcome<std::time::Duration> {
                let (mut store, instance) = self.instance()?;
                let function = instance.get_typed_func::<i32, i32>(&mut store, function)?;
                function.call(&mut store, argument)?;
                let start = std::time::Instant::now();
                for _ in 0..iterations {
                    std::hint::black_box(function.call(&mut store, std::hint::black_box(argument))?);
                }
                Ok(start.elapsed())
            }
        }
    };
}
pub(crate) use measured;

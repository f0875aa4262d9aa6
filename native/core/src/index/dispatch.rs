//! One portable body, compiled once per instruction set and chosen when it runs.

/// Defines `name(arguments)`, which runs `body::<FMA, WIDE>(arguments)` compiled for the best instruction set there is;
/// with `WIDE` population counts of eight words are one instruction.
macro_rules! dispatched {
    ($(#[$attribute:meta])* $visibility:vis fn $name:ident($($argument:ident: $kind:ty),* $(,)?) => $body:ident) => {
        $(#[$attribute])*
        #[allow(unsafe_code)]
        $visibility fn $name($($argument: $kind),*) {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vpopcntdq,avx2,fma,popcnt")]
                fn avx512($($argument: $kind),*) {
                    $body::<true, true>($($argument),*);
                }
                #[target_feature(enable = "avx2,fma,popcnt")]
                fn avx2($($argument: $kind),*) {
                    $body::<true, false>($($argument),*);
                }
                if is_x86_feature_detected!("avx512vpopcntdq")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512vl")
                    && is_x86_feature_detected!("fma")
                {
                    // SAFETY: the processor has the features: AVX-512F is part of each of the three.
                    return unsafe { avx512($($argument),*) };
                }
                if is_x86_feature_detected!("avx2")
                    && is_x86_feature_detected!("fma")
                    && is_x86_feature_detected!("popcnt")
                {
                    // SAFETY: the processor has the features.
                    return unsafe { avx2($($argument),*) };
                }
            }
            $body::<{ $crate::kernels::BASELINE_FMA }, false>($($argument),*);
        }
    };
}

pub(super) use dispatched;

// Counts primes on as many threads as the host gives it. There is no library below it: the mutex and the
// barrier are made of atomic operators, waits and notifications.
//
// Every thread is an instance of its own on the one imported memory, and calls `work`. Before that the
// host gives each its own stack: `__stack_pointer` of the instance becomes `stack_end(thread)`.

#define EXPORT(name) __attribute__((export_name(name)))

enum { THREADS_MAX = 16, STACK_BYTES = 16384, LIMIT = 200000, CHUNK = 1000, BUCKETS = 10 };

static _Alignas(16) unsigned char stacks[THREADS_MAX][STACK_BYTES];

// A mutex: 0 free, 1 held, 2 held and somebody waits.
typedef struct { int state; } Mutex;

static void lock(Mutex *mutex) {
    int found = 0;
    if (__atomic_compare_exchange_n(&mutex->state, &found, 1, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) return;
    while (__atomic_exchange_n(&mutex->state, 2, __ATOMIC_SEQ_CST) != 0)
        __builtin_wasm_memory_atomic_wait32(&mutex->state, 2, -1);
}

static void unlock(Mutex *mutex) {
    if (__atomic_exchange_n(&mutex->state, 0, __ATOMIC_SEQ_CST) == 2)
        __builtin_wasm_memory_atomic_notify(&mutex->state, 1);
}

// The last thread to come lets all others go.
static int arrived;
static int open;

static void meet(int threads) {
    if (__atomic_add_fetch(&arrived, 1, __ATOMIC_SEQ_CST) == threads) {
        __atomic_store_n(&open, 1, __ATOMIC_SEQ_CST);
        __builtin_wasm_memory_atomic_notify(&open, -1);
    }
    while (!__atomic_load_n(&open, __ATOMIC_SEQ_CST))
        __builtin_wasm_memory_atomic_wait32(&open, 0, -1);
}

static int next_chunk;
static Mutex mutex;
// Behind the mutex, and plain: primes by their last digit, and the sum of all.
static int by_last_digit[BUCKETS];
static long long sum;

static int is_prime(int number) {
    if (number < 2) return 0;
    for (int divisor = 2; divisor * divisor <= number; divisor++)
        if (number % divisor == 0) return 0;
    return 1;
}

EXPORT("stack_end") void *stack_end(int thread) {
    return thread >= 0 && thread < THREADS_MAX ? stacks[thread] + STACK_BYTES : 0;
}

// Works until no chunk is left, waits for the other threads, and returns the sum of all primes below LIMIT.
EXPORT("work") long long work(int threads) {
    for (;;) {
        int first = __atomic_fetch_add(&next_chunk, CHUNK, __ATOMIC_SEQ_CST);
        if (first >= LIMIT) break;
        int found[CHUNK];
        int count = 0;
        for (int number = first; number < first + CHUNK; number++)
            if (is_prime(number)) found[count++] = number;
        lock(&mutex);
        for (int i = 0; i < count; i++) {
            by_last_digit[found[i] % BUCKETS]++;
            sum += found[i];
        }
        unlock(&mutex);
    }
    meet(threads);
    return sum;
}

EXPORT("count") int count(int last_digit) {
    return last_digit >= 0 && last_digit < BUCKETS ? by_last_digit[last_digit] : -1;
}

// Programs that only compute, as exports of one freestanding module: what the benches time and
// what the engines are compared on. No import; all state is reset at the start of each call.

#include <stdint.h>

#define EXPORT(name) __attribute__((export_name(#name)))

// ---- nbody: the Sun and the four giant planets, symplectic Euler steps ----

typedef struct {
    double position[3], velocity[3], mass;
} Body;

#define BODIES 5
#define SOLAR_MASS 39.47841760435743 // 4 * pi^2, in units of astronomical units and years
#define DAYS_PER_YEAR 365.24

static const Body solar_system[BODIES] = {
    {{0, 0, 0}, {0, 0, 0}, 1.0},
    {{4.84143144246472090, -1.16032004402742839, -0.103622044471123109},
     {0.00166007664274403694, 0.00769901118419740425, -0.0000690460016972063023}, 0.000954791938424326609},
    {{8.34336671824457987, 4.12479856412430479, -0.403523417114321381},
     {-0.00276742510726411, 0.00499852801234917238, 0.0000230417297573763929}, 0.000285885980666130812},
    {{12.8943695621391310, -15.1111514016986312, -0.223307578892655734},
     {0.00296460137564761618, 0.00237847173959480950, -0.0000296589568540237556}, 0.0000436624404335156298},
    {{15.3796971148509165, -25.9193146099879641, 0.179258772950371181},
     {0.00268067772490389322, 0.00162824170038242295, -0.0000951592254519715870}, 0.0000515138902046611451},
};

static void start_bodies(Body *bodies) {
    double momentum[3] = {0, 0, 0};
    for (int i = 0; i < BODIES; i++) {
        bodies[i] = solar_system[i];
        bodies[i].mass *= SOLAR_MASS;
        for (int axis = 0; axis < 3; axis++) {
            bodies[i].velocity[axis] *= DAYS_PER_YEAR;
            momentum[axis] += bodies[i].velocity[axis] * bodies[i].mass;
        }
    }
    for (int axis = 0; axis < 3; axis++) bodies[0].velocity[axis] = -momentum[axis] / SOLAR_MASS;
}

static void step_bodies(Body *bodies, double years) {
    for (int i = 0; i < BODIES; i++) {
        for (int j = i + 1; j < BODIES; j++) {
            double gap[3], square = 0;
            for (int axis = 0; axis < 3; axis++) {
                gap[axis] = bodies[i].position[axis] - bodies[j].position[axis];
                square += gap[axis] * gap[axis];
            }
            double pull = years / (square * __builtin_sqrt(square));
            for (int axis = 0; axis < 3; axis++) {
                bodies[i].velocity[axis] -= gap[axis] * bodies[j].mass * pull;
                bodies[j].velocity[axis] += gap[axis] * bodies[i].mass * pull;
            }
        }
    }
    for (int i = 0; i < BODIES; i++)
        for (int axis = 0; axis < 3; axis++) bodies[i].position[axis] += years * bodies[i].velocity[axis];
}

static double energy_of(const Body *bodies) {
    double energy = 0;
    for (int i = 0; i < BODIES; i++) {
        const double *v = bodies[i].velocity;
        energy += 0.5 * bodies[i].mass * (v[0] * v[0] + v[1] * v[1] + v[2] * v[2]);
        for (int j = i + 1; j < BODIES; j++) {
            double square = 0;
            for (int axis = 0; axis < 3; axis++) {
                double gap = bodies[i].position[axis] - bodies[j].position[axis];
                square += gap * gap;
            }
            energy -= bodies[i].mass * bodies[j].mass / __builtin_sqrt(square);
        }
    }
    return energy;
}

// The energy of the system after `steps` steps of 1/100 year; it hardly changes.
EXPORT(nbody) double nbody(uint32_t steps) {
    Body bodies[BODIES];
    start_bodies(bodies);
    for (uint32_t i = 0; i < steps; i++) step_bodies(bodies, 0.01);
    return energy_of(bodies);
}

// ---- fannkuch: the longest series of prefix reversals over all permutations of 1..n ----

static uint32_t flips_of(const uint8_t *permutation, uint32_t n) {
    uint8_t work[12];
    for (uint32_t i = 0; i < n; i++) work[i] = permutation[i];
    uint32_t flips = 0;
    while (work[0] != 0) {
        for (uint32_t low = 0, high = work[0]; low < high; low++, high--) {
            uint8_t kept = work[low];
            work[low] = work[high];
            work[high] = kept;
        }
        flips++;
    }
    return flips;
}

// Heap's order of permutations; `n` is at most 12.
EXPORT(fannkuch) uint32_t fannkuch(uint32_t n) {
    uint8_t permutation[12], count[12] = {0};
    if (n == 0 || n > 12) return 0;
    for (uint32_t i = 0; i < n; i++) permutation[i] = (uint8_t)i;
    uint32_t most = 0;
    for (uint32_t i = 1; i < n;) {
        if (count[i] >= i) {
            count[i++] = 0;
            continue;
        }
        uint32_t other = i % 2 == 0 ? 0 : count[i];
        uint8_t kept = permutation[other];
        permutation[other] = permutation[i];
        permutation[i] = kept;
        count[i]++;
        i = 1;
        uint32_t flips = flips_of(permutation, n);
        if (flips > most) most = flips;
    }
    return most;
}

// ---- mandelbrot: points of a size x size grid that stay bounded for 50 steps ----

EXPORT(mandelbrot) uint32_t mandelbrot(uint32_t size) {
    uint32_t bounded = 0;
    for (uint32_t row = 0; row < size; row++) {
        for (uint32_t column = 0; column < size; column++) {
            double c_re = 2.0 * column / size - 1.5, c_im = 2.0 * row / size - 1.0, re = 0, im = 0;
            uint32_t step = 0;
            while (step < 50 && re * re + im * im <= 4.0) {
                double next = re * re - im * im + c_re;
                im = 2.0 * re * im + c_im;
                re = next;
                step++;
            }
            bounded += step == 50;
        }
    }
    return bounded;
}

// ---- crc32: the checksum of a buffer of pseudo-random bytes, table-driven ----

static uint32_t crc_table[256];
static uint8_t crc_buffer[65536];

EXPORT(crc32) uint32_t crc32(uint32_t rounds) {
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t value = i;
        for (int bit = 0; bit < 8; bit++) value = value >> 1 ^ (value & 1 ? 0xedb88320u : 0);
        crc_table[i] = value;
    }
    uint32_t seed = 1;
    for (uint32_t i = 0; i < sizeof crc_buffer; i++) {
        seed = seed * 1664525u + 1013904223u;
        crc_buffer[i] = (uint8_t)(seed >> 24);
    }
    uint32_t crc = ~0u;
    while (rounds-- > 0)
        for (uint32_t i = 0; i < sizeof crc_buffer; i++) crc = crc >> 8 ^ crc_table[(crc ^ crc_buffer[i]) & 255];
    return ~crc;
}

// ---- sieve: primes below n, at most a million ----

static uint8_t composite[1000001];

EXPORT(sieve) uint32_t sieve(uint32_t n) {
    if (n > sizeof composite - 1) n = sizeof composite - 1;
    for (uint32_t i = 0; i <= n; i++) composite[i] = 0;
    uint32_t primes = 0;
    for (uint32_t i = 2; i < n; i++) {
        if (composite[i]) continue;
        primes++;
        for (uint64_t multiple = (uint64_t)i * i; multiple < n; multiple += i) composite[multiple] = 1;
    }
    return primes;
}

// ---- fib: calls ----

EXPORT(fib) uint32_t fib(uint32_t n) {
    return n < 2 ? n : fib(n - 1) + fib(n - 2);
}

// ---- dispatch: indirect calls through a table ----

typedef uint32_t (*Step)(uint32_t);
static uint32_t step_add(uint32_t x) { return x + 0x9e3779b9u; }
static uint32_t step_shift(uint32_t x) { return x ^ x >> 15; }
static uint32_t step_multiply(uint32_t x) { return x * 0x85ebca6bu; }
static uint32_t step_rotate(uint32_t x) { return x << 13 | x >> 19; }
static Step volatile steps[4] = {step_add, step_shift, step_multiply, step_rotate};

EXPORT(dispatch) uint32_t dispatch(uint32_t calls) {
    uint32_t x = 1;
    for (uint32_t i = 0; i < calls; i++) x = steps[x >> 7 & 3](x) + i;
    return x;
}

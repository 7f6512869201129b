#if defined(__cplusplus) && defined(__AMX_TILE__) && !defined(__clang__) && __GNUC__ < 13
#include <immintrin.h>
static inline void ttc_tile_loadconfig(const void *config) {
    struct tile_config { unsigned char bytes[64]; };
    __asm__ volatile("ldtilecfg\t%X0" : : "m"(*(const struct tile_config *)config));
}
#define _tile_loadconfig ttc_tile_loadconfig
#endif

#if !defined(__cplusplus) && defined(__x86_64__)
#include <immintrin.h>
#include <sched.h>
static inline void ttc_pause(void) {
    static __thread unsigned spins;
    __builtin_ia32_pause();
    if ((++spins & 1023u) == 0) {
        sched_yield();
    }
}
#define _mm_pause ttc_pause
#endif

#if defined(__cplusplus)
#include <stdint.h>
#include <string.h>
/* The first cell from `cell` on, up to `end`, whose mask is not minus infinity in half precision. */
static inline int64_t ttc_next_unmasked(const uint16_t *mask, int64_t cell, int64_t end) {
    const uint64_t four = UINT64_C(0xFC00FC00FC00FC00);
    uint64_t word[4];
    for (; cell + 16 <= end; cell += 16) {
        memcpy(word, mask + cell, sizeof word);
        if ((word[0] ^ four) | (word[1] ^ four) | (word[2] ^ four) | (word[3] ^ four)) {
            break;
        }
    }
    for (; cell + 4 <= end; cell += 4) {
        memcpy(word, mask + cell, sizeof word[0]);
        if (word[0] != four) {
            break;
        }
    }
    while (cell < end && mask[cell] == 0xFC00) {
        ++cell;
    }
    return cell;
}

/* Whether of the tiles (64 tokens by 64 cells) that are not masked altogether less than a quarter
   is unmasked: a cell of a tile is some four times as cheap as one that is come upon in its row. */
static inline bool ttc_is_sparse(const void *mask, size_t row_bytes, int64_t rows, int64_t cells) {
    int64_t seen = 0, tiled = 0;
    for (int64_t top = 0; top < rows; top += 64) {
        const int64_t bottom = top + 64 < rows ? top + 64 : rows;
        for (int64_t left = 0; left < cells; left += 64) {
            const int64_t right = left + 64 < cells ? left + 64 : cells;
            int64_t inside = 0;
            for (int64_t row = top; row < bottom; ++row) {
                const uint16_t *at = (const uint16_t *)((const char *)mask + row * row_bytes);
                unsigned count = 0;
                for (int64_t cell = left; cell < right; ++cell) {
                    count += at[cell] != 0xFC00;
                }
                inside += count;
            }
            seen += inside;
            tiled += inside ? (bottom - top) * (right - left) : 0;
        }
    }
    return 4 * seen < tiled;
}
#endif

/* Included at the head of every file of llama.cpp: cures for what it and its compilers do.

   gcc <= 12 takes the operand of ldtilecfg for a pointer, so the optimiser drops most of the tile
   configuration, and the first decode on a machine with AMX faults. */
#if defined(__cplusplus) && defined(__AMX_TILE__) && !defined(__clang__) && __GNUC__ < 13
#include <immintrin.h>
static inline void ttc_tile_loadconfig(const void *config) {
    struct tile_config { unsigned char bytes[64]; };
    __asm__ volatile("ldtilecfg\t%X0" : : "m"(*(const struct tile_config *)config));
}
#define _tile_loadconfig ttc_tile_loadconfig
#endif

/* Without OpenMP, a decode thread that waits for the others spins and never yields: beside any busy
   program each of the hundreds of barriers of a step costs a time slice (measured: 5 tokens/s at 16
   streams, 57 to 74 with this). */
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

/* Attention on a processor walks over every cell of the cache, for every candidate and head, to skip
   those that belong to other candidates: with 32 of them a third of a step. And from 64 tokens on it
   computes whole tiles of the mask, although candidates that are judged together see a sixteenth of
   them. What skips masked cells many at a time, and what chooses between tiles and rows, are called
   by lines that patches.py puts into the source. */
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

/* Whether less than a quarter of the tiles (64 tokens by 64 cells) that are not wholly masked is
   unmasked: a cell of a tile is some four times as cheap as one that is found in its row. */
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

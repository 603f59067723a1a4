/* Numbers T, float where SINGLE is 1 and else double, in whole vectors, and what functions of them are written with. */
#if SINGLE
typedef float T;
#define PASTE(start, single, twice, arguments, name) start##single##arguments##_##name##f
#define BUILTIN(name) __builtin_##name##f
#else
typedef double T;
#define PASTE(start, single, twice, arguments, name) start##twice##arguments##_##name
#define BUILTIN(name) __builtin_##name
#endif
#ifdef __AVX512F__
#define BYTES 64
#define NAME(name, arguments) PASTE(_ZGVeN, 16, 8, arguments, name)
#elif defined __AVX2__
#define BYTES 32
#define NAME(name, arguments) PASTE(_ZGVdN, 8, 4, arguments, name)
#else
#error wanted a processor with AVX2 or AVX-512
#endif
#define V ((long)(BYTES / sizeof(T)))
typedef T vec __attribute__((vector_size(BYTES)));
typedef T loose __attribute__((vector_size(BYTES), aligned(sizeof(T)))); /* anywhere in memory */
typedef __typeof__((vec){} < (vec){}) lanes; /* integers as wide as T: truths, all bits of which are equal */

/* glibc's functions of vectors, of one argument and of two. */
#define MANY1(name) NAME(name, v)
#define MANY2(name) NAME(name, vv)

/* Functions of single numbers, for each of a vector. */
#define EACH1(name) \
    static inline vec name##_(vec a) { for (long j = 0; j < V; j++) a[j] = BUILTIN(name)(a[j]); return a; }
#define EACH2(name) \
    static inline vec name##_(vec a, vec b) { for (long j = 0; j < V; j++) a[j] = BUILTIN(name)(a[j], b[j]); return a; }

#define K(number) ((vec){} + (T)(number))
#define SIGN ((lanes)(-(vec){}))
#define PICK(truth, a, b) ((vec)(((lanes)(a) & (truth)) | ((lanes)(b) & ~(truth))))

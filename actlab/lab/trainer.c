/* Trains one network whole, on one thread, in the first caches; its function is given as compiled value and slope.

   T is float or double. Units are padded with zeros to whole lines of the cache. A network's parameters are, for each
   hidden layer, the weights [inputs, units] and the biases [units]; then the weights [units] of the output, and its bias
   in a line; then, for each hidden layer, the function's learned constants, in whole lines.
   Before this text belong `vectors.h`, and Adam's BETA1, BETA2 and EPS.
*/
#include <stdlib.h>
#include <string.h>

#define ROWS (BYTES == 64 ? 8L : 4L) /* of sums that fit into registers, two vectors each */
#define LINE ((long)(64 / sizeof(T)))
#define HOT static inline __attribute__((always_inline))

typedef void function(const T *z, const T *constants, long n, T *value, T *slope, T *partials, long apart);
/* Of a function that sees its batch [rows, units]: its value, or, given d by the value, that by z; d may be out. */
typedef void whole_function(const T *z, const T *d, long rows, long units, long used, T *out, T *room, long most);
typedef struct { function *act; whole_function *forward, *backward; } functions; /* forward: it sees its batch */
typedef struct { long inputs, units, used, depth, batch, constants, sums, rolled; } shape;

/* So many rows, and vectors of columns, of out = bias + a w, times scale where there is one. */
HOT void block(const long rows, const long columns, T *out, const T *bias, const T *a, long row, long inner, long along,
               const T *w, long units, const T *scale)
{
    vec sums[ROWS][2];
    for (long i = 0; i < rows; i++)
        for (long c = 0; c < columns; c++) sums[i][c] = bias ? *(const vec *)(bias + c * V) : (vec){};
    for (long k = 0; k < inner; k++) {
        vec part[2];
        for (long c = 0; c < columns; c++) part[c] = *(const vec *)(w + k * units + c * V);
#pragma GCC unroll 8
        for (long i = 0; i < rows; i++) {
            const T factor = a[i * row + k * along];
            for (long c = 0; c < columns; c++) sums[i][c] += factor * part[c];
        }
    }
    for (long i = 0; i < rows; i++)
        for (long c = 0; c < columns; c++) {
            vec *place = (vec *)(out + i * units + c * V);
            *place = scale ? sums[i][c] * *(const vec *)(scale + i * units + c * V) : sums[i][c];
        }
}

HOT void strip(const long rows, T *out, const T *bias, const T *a, long row, long inner, long along, const T *w,
               long units, const T *scale)
{
    long c = 0;
    for (; c + 2 * V <= units; c += 2 * V)
        block(rows, 2, out + c, bias ? bias + c : 0, a, row, inner, along, w + c, units, scale ? scale + c : 0);
    if (c < units)
        block(rows, 1, out + c, bias ? bias + c : 0, a, row, inner, along, w + c, units, scale ? scale + c : 0);
}

/* out [rows, units] = bias + sum over k of a[r * row + k * along] w[k, units], times scale where there is one. */
HOT void product(long rows, T *out, const T *bias, const T *a, long row, long inner, long along, const T *w, long units,
                 const T *scale)
{
    long r = 0;
    for (; r + ROWS <= rows; r += ROWS)
        strip(ROWS, out + r * units, bias, a + r * row, row, inner, along, w, units, scale ? scale + r * units : 0);
    for (; r < rows; r++)
        strip(1, out + r * units, bias, a + r * row, row, inner, along, w, units, scale ? scale + r * units : 0);
}

static void outer(T *out, const T *a, long rows, long row, long inner, long along, const T *w, long units)
{
    product(rows, out, 0, a, row, inner, along, w, units, 0);
}

static void back(T *out, const T *a, long rows, const T *w, long units, const T *scale)
{
    product(rows, out, 0, a, units, units, 1, w, units, scale);
}

/* Value, slope and partial derivatives [rows, units] of the function at bias + a w; what is beyond the units in use
   stays 0. Of a function that sees its batch the slope's place takes z. */
static void layer(const functions *f, const shape *s, const T *constants, T *z, T *value, T *slope, T *partials,
                  const T *bias, const T *a, long inner, const T *w, long rows, T *room, long most)
{
    const long units = s->units, apart = rows * units;
    if (f->forward) {
        product(rows, slope, bias, a, inner, inner, 1, w, units, 0);
        f->forward(slope, 0, rows, units, s->used, value, room, most);
        return;
    }
    for (long r = 0; r < rows; r += ROWS) {
        const long n = rows - r < ROWS ? rows - r : ROWS;
        product(n, z, bias, a + r * inner, inner, inner, 1, w, units, 0);
        f->act(z, constants, n * units, value + r * units, slope + r * units, partials + r * units, apart);
        if (s->used < units)
            for (long i = r; i < r + n; i++)
                for (long j = s->used; j < units; j++) {
                    value[i * units + j] = slope[i * units + j] = 0;
                    for (long k = 0; k < s->constants; k++) partials[k * apart + i * units + j] = 0;
                }
    }
}

/* The gradients of a layer's constants: sums of what arrives times each one's partial derivatives, [size]. */
static void weigh(T *gradient, const T *arriving, const T *partials, long constants, long size)
{
    for (long k = 0; k < constants; k++) {
        vec sums = {};
        for (long i = 0; i < size; i += V) sums += *(const vec *)(arriving + i) * *(const vec *)(partials + k * size + i);
        gradient[k] = 0;
        for (long j = 0; j < V; j++) gradient[k] += sums[j];
    }
}

HOT void exchange(vec *low, vec *high, vec a, vec b, const long half)
{
    lanes first, second;
    for (long j = 0; j < V; j++) {
        first[j] = j & half ? V + j - half : j;
        second[j] = j & half ? V + j : j + half;
    }
    *low = __builtin_shuffle(a, b, first);
    *high = __builtin_shuffle(a, b, second);
}

/* The square matrix w [units, units], turned: in squares of V by V, by exchanges between rows 1, 2, 4, ... apart. */
static void turn(T *out, const T *w, long units)
{
    for (long r = 0; r < units; r += V)
        for (long c = 0; c < units; c += V) {
            vec rows[V];
            for (long i = 0; i < V; i++) rows[i] = *(const vec *)(w + (r + i) * units + c);
#pragma GCC unroll 4
            for (long half = 1; half < V; half *= 2)
#pragma GCC unroll 16
                for (long i = 0; i < V; i++)
                    if (!(i & half)) exchange(&rows[i], &rows[i + half], rows[i], rows[i + half], half);
            for (long i = 0; i < V; i++) *(vec *)(out + (c + i) * units + r) = rows[i];
        }
}

/* error [rows] = bias + a w - y, for a [rows, units]; room for whole vectors. */
static void output(T *error, const T *a, const T *w, T bias, const T *y, long rows, long units)
{
    for (long r = 0; r < rows; r += V) {
        vec sums[V];
        for (long i = 0; i < V; i++) {
            sums[i] = (vec){};
            if (r + i < rows)
                for (long c = 0; c < units; c += V)
                    sums[i] += *(const vec *)(a + (r + i) * units + c) * *(const vec *)(w + c);
        }
#pragma GCC unroll 4
        for (long half = 1; half < V; half *= 2)
#pragma GCC unroll 16
            for (long i = 0; i < V; i += 2 * half) {
                vec low, high;
                exchange(&low, &high, sums[i], sums[i + half], half);
                sums[i] = low + high;
            }
        *(vec *)(error + r) = sums[0] + bias - *(const vec *)(y + r);
    }
}

static long whole(long numbers) { return (numbers + LINE - 1) / LINE * LINE; }

static T *taken(T **room, long numbers)
{
    T *place = *room;
    *room += whole(numbers);
    return place;
}

/* Trains a network in place; rates are of each step: Adam's rate over the correction of means, and 1 over the root of
   that of squares. Notes, if wanted, are of each step before it is made: the gradient's L2 norm, and the batch's loss.
   Returns 0, or 1 where memory lacks. */
int train(const functions *f, const shape *s, long steps, const T *x, const T *y, const long *index, const double *rates,
          T *parameters, double *notes)
{
    const long units = s->units, depth = s->depth, batch = s->batch, inputs = s->inputs;
    const long layer_size = batch * units, square = units * units, each = whole(s->constants);
    const long most = whole(batch > units ? batch : units);
    const long count = (inputs + 1) * units + (depth - 1) * (square + units) + units + LINE + depth * each;
    const long for_function = s->sums * most + s->rolled * layer_size;
    const long numbers = 4 * count + ((2 + s->constants) * depth + 2) * layer_size + ROWS * units + square
                         + batch * inputs + 2 * batch + for_function;
    const size_t bytes = (whole(numbers) + (2 * depth + 16) * LINE) * sizeof(T);
    T *memory = aligned_alloc(64, bytes);
    if (!memory) return 1;
    memset(memory, 0, bytes);
    T *room = memory;
    T *p = taken(&room, count), *g = taken(&room, count), *m = taken(&room, count), *q = taken(&room, count);
    T *z = taken(&room, ROWS * units), *turned = taken(&room, square);
    T *bx = taken(&room, batch * inputs), *by = taken(&room, batch), *error = taken(&room, batch);
    T *delta = taken(&room, layer_size), *other = taken(&room, layer_size), *kept = taken(&room, for_function);
    T *value[depth], *slope[depth], *partials[depth];
    long at[depth + 1];
    at[0] = 0;
    for (long l = 0; l < depth; l++) {
        value[l] = taken(&room, layer_size), slope[l] = taken(&room, layer_size);
        partials[l] = taken(&room, s->constants * layer_size);
        at[l + 1] = at[l] + (l ? square : inputs * units) + units;
    }
    const long constants = at[depth] + units + LINE; /* the first layer's */
    memcpy(p, parameters, count * sizeof(T));
    for (long t = 0; t < steps; t++, index += batch) {
        for (long b = 0; b < batch; b++) {
            for (long i = 0; i < inputs; i++) bx[b * inputs + i] = x[index[b] * inputs + i];
            by[b] = y[index[b]];
        }
        for (long l = 0; l < depth; l++) {
            const long inner = l ? units : inputs;
            const T *w = p + at[l];
            layer(f, s, p + constants + l * each, z, value[l], slope[l], partials[l], w + inner * units,
                  l ? value[l - 1] : bx, inner, w, batch, kept, most);
        }
        const T *w = p + at[depth];
        output(error, value[depth - 1], w, w[units], by, batch, units);
        T total = 0, loss = 0;
        for (long b = 0; b < batch; b++) {
            loss += error[b] * error[b];
            total += error[b] *= (T)2 / batch;
        }
        g[at[depth] + units] = total;
        for (long b = 0; b < batch && (s->constants || f->forward); b++)
            for (long c = 0; c < units; c += V) *(vec *)(other + b * units + c) = error[b] * *(const vec *)(w + c);
        if (f->forward)
            f->backward(slope[depth - 1], other, batch, units, s->used, other, kept, most);
        else if (s->constants) {
            weigh(g + constants + (depth - 1) * each, other, partials[depth - 1], s->constants, layer_size);
        }
        const T *h = value[depth - 1], *slopes = slope[depth - 1];
        for (long c = 0; c < units; c += V) {
            vec weights = {}, biases = {};
            for (long b = 0; b < batch; b++) {
                const vec d = f->forward ? *(const vec *)(other + b * units + c)
                                         : error[b] * *(const vec *)(w + c) * *(const vec *)(slopes + b * units + c);
                weights += error[b] * *(const vec *)(h + b * units + c);
                biases += d;
                *(vec *)(delta + b * units + c) = d;
            }
            *(vec *)(g + at[depth] + c) = weights;
            *(vec *)(g + at[depth] - units + c) = biases;
        }
        for (long l = depth - 1; l >= 0; l--) {
            const long inner = l ? units : inputs;
            outer(g + at[l], l ? value[l - 1] : bx, inner, 1, batch, inner, delta, units);
            if (!l) break;
            turn(turned, p + at[l], units);
            back(other, delta, batch, turned, units, s->constants || f->forward ? 0 : slope[l - 1]);
            if (f->forward)
                f->backward(slope[l - 1], other, batch, units, s->used, other, kept, most);
            else if (s->constants) {
                weigh(g + constants + (l - 1) * each, other, partials[l - 1], s->constants, layer_size);
                for (long i = 0; i < layer_size; i += V) *(vec *)(other + i) *= *(const vec *)(slope[l - 1] + i);
            }
            for (long c = 0; c < units; c += V) {
                vec biases = {};
                for (long b = 0; b < batch; b++) biases += *(const vec *)(other + b * units + c);
                *(vec *)(g + at[l] - units + c) = biases;
            }
            T *swap = delta; delta = other; other = swap;
        }
        if (notes) {
            T squares = 0;
            for (long i = 0; i < count; i++) squares += g[i] * g[i];
            notes[2 * t] = __builtin_sqrt(squares), notes[2 * t + 1] = loss / batch;
        }
        const T rate = rates[2 * t], root = rates[2 * t + 1];
        for (long i = 0; i < count; i++) {
            m[i] += (T)(1 - BETA1) * (g[i] - m[i]);
            q[i] = (T)BETA2 * q[i] + (T)(1 - BETA2) * g[i] * g[i];
            p[i] -= rate * m[i] / (BUILTIN(sqrt)(q[i]) * root + (T)EPS);
        }
    }
    memcpy(parameters, p, count * sizeof(T));
    free(memory);
    return 0;
}

/* Predictions [points] of a network at x [points, inputs]. */
int predict(const functions *f, const shape *s, long points, const T *x, const T *parameters, T *out)
{
    const long units = s->units, inputs = s->inputs, each = whole(s->constants), part = f->forward ? s->batch : ROWS;
    const long size = part * units, most = whole(part > units ? part : units);
    const long constants = (inputs + 1) * units + (s->depth - 1) * (units + 1) * units + units + LINE;
    const long count = constants + s->depth * each;
    const long for_function = s->sums * most + s->rolled * size;
    T *memory = aligned_alloc(64, (count + (4 + s->constants) * size + for_function + 16 * LINE) * sizeof(T));
    if (!memory) return 1;
    T *room = memory, *p = taken(&room, count), *z = taken(&room, size), *slope = taken(&room, size);
    T *values[2] = {taken(&room, size), taken(&room, size)}, *partials = taken(&room, s->constants * size);
    T *kept = taken(&room, for_function);
    memcpy(p, parameters, count * sizeof(T));
    for (long r = 0; r < points; r += part) {
        const long rows = points - r < part ? points - r : part;
        const T *a = x + r * inputs, *w = p;
        for (long l = 0; l < s->depth; l++) {
            const long inner = l ? units : inputs;
            layer(f, s, p + constants + l * each, z, values[l % 2], slope, partials, w + inner * units, a, inner, w,
                  rows, kept, most);
            a = values[l % 2];
            w += (inner + 1) * units;
        }
        for (long i = 0; i < rows; i++) {
            T sum = w[units];
            for (long j = 0; j < units; j++) sum += a[i * units + j] * w[j];
            out[r + i] = sum;
        }
    }
    free(memory);
    return 0;
}

#pragma once

// exp and tanh of 16 floats, within 2 ulp; included after a simd header. Polynomials: Cephes expf and tanhf
// (https://www.netlib.org/cephes/).

namespace chorus {
namespace {

[[gnu::always_inline]] inline Floats polynomial(Floats x, const float* coefficients,
                                                int count) {  // highest power first
  Floats y = broadcast(coefficients[0]);
  for (int i = 1; i < count; ++i) y = fma(y, x, broadcast(coefficients[i]));
  return y;
}

// Results below 2^-126 come out as about 2^-126, those above 2^127.5 as about that.
[[gnu::always_inline]] inline Floats exp(Floats x) {
  constexpr float kCoefficients[] = {1.9875691500e-4f, 1.3981999507e-3f, 8.3334519073e-3f,
                                     4.1665795894e-2f, 1.6666665459e-1f, 5.0000001201e-1f};
  x = min(broadcast(88.37f), max(broadcast(-87.33f), x));  // in this order NaN stays NaN
  const Ints n = round_to_int(mul(x, broadcast(1.44269504088896341f)));
  Floats r = fma(to_float(n), broadcast(-0.693359375f), x);
  r = fma(to_float(n), broadcast(2.12194440e-4f), r);
  const Floats y = add(fma(polynomial(r, kCoefficients, 6), mul(r, r), r), broadcast(1));
  // Two factors, because 2^n itself may be too large for a float.
  const Ints half = halve(n);
  return mul(mul(y, exp2_of(half)), exp2_of(sub(n, half)));
}

Floats tanh(Floats x) {
  constexpr float kCoefficients[] = {-5.70498872745e-3f, 2.06390887954e-2f, -5.37397155531e-2f,
                                     1.33314422036e-1f, -3.33332819422e-1f};
  const Floats square = mul(x, x);
  const Floats small = fma(mul(polynomial(square, kCoefficients, 5), square), x, x);
  const Floats large = sub(broadcast(1), div(broadcast(2), add(exp(add(x, x)), broadcast(1))));
  return select_less(abs(x), broadcast(0.625f), small, large);
}

}  // namespace
}  // namespace chorus

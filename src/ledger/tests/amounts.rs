//! Sums stay exact, whatever is added and however often.

use rust_decimal::Decimal;

use super::*;
use crate::model::MAX_COUNT;

#[tokio::test]
async fn counts_near_the_largest_that_is_believed_stay_exact() {
    let mut bench = Bench::new(PUSH, "interval: 60s, cohort_ages: [5m]", "10:00:00");
    bench.start().await;
    for (sent, delivered) in [
        (MAX_COUNT - 1, MAX_COUNT - 2),
        (MAX_COUNT, MAX_COUNT - 1),
        (1, 0),
        (MAX_COUNT, MAX_COUNT),
    ] {
        bench.push("10:00:00", sent, delivered).await;
    }
    bench.until("10:02:00").await;
    assert_eq!(bench.total(Measure::Sent), Some(MAX_COUNT));
    assert_eq!(bench.total(Measure::Delivered), Some(MAX_COUNT));
    bench.until("10:05:00").await;
    bench.push("10:00:00", MAX_COUNT, MAX_COUNT).await;
    // More messages than a double can count.
    for number in 0..3 {
        let mut message = bench.message(None, None);
        message.id = Arc::from(format!("m{number}"));
        let snapshot = bench.snapshot(vec![(Measure::Sent, MAX_COUNT)]);
        bench.answered(message, Some(snapshot)).await;
    }
    assert_eq!(bench.total(Measure::Sent), Some(4 * MAX_COUNT));
    bench.start().await;
    bench.until("10:08:00").await;
    assert_eq!(bench.total(Measure::Sent), Some(4 * MAX_COUNT));
    assert_eq!(bench.cohort(300, CohortPart::Delivered), Some(MAX_COUNT));
}

#[test]
fn a_million_prices_add_up_exactly() {
    // In ten-millionths; none of them has an exact double.
    let prices: [i64; 6] = [25_000, 1_000_000, 1_000, 11_500_000, 10, 123_456_789];
    let money = |units: i64| Amount::Money(Decimal::new(units, 7).normalize());
    let mut sum = Amount::Money(Decimal::ZERO);
    let mut units = 0;
    for number in 0..1_000_000 {
        let price = prices[number % prices.len()];
        sum.add(&money(price));
        units += price;
    }
    assert_eq!(sum, Amount::Money(Decimal::new(units, 7)));
    assert_eq!(Amount::parse(&sum.to_text()), Some(sum));
}

#[test]
fn a_million_times_add_up_exactly_in_any_order() {
    let time = |number: u64| Duration::from_millis(number * 7_919 % 200_000_000);
    let mut sums = [(); 2].map(|()| Amount::Times(Times::default()));
    let mut expected = (0, vec![0_u64; LATENCY_BOUNDS.len() + 1]);
    for number in 0..1_000_000 {
        let observe = |number| Amount::Times(Times::observe(time(number), LATENCY_BOUNDS));
        sums[0].add(&observe(number));
        sums[1].add(&observe(999_999 - number));
        let millis = u64::try_from(time(number).as_millis()).unwrap();
        expected.0 += millis * 1000;
        let above = |bound: &&f64| millis > **bound as u64 * 1000;
        expected.1[LATENCY_BOUNDS.iter().filter(above).count()] += 1;
    }
    let [one, other] = sums;
    assert_eq!(one, other);
    let (micros, buckets) = expected;
    assert_eq!(one, Amount::Times(Times { buckets, micros }));
}

#[test]
fn a_time_on_a_bound_is_within_it() {
    for (place, bound) in LATENCY_BOUNDS.iter().enumerate() {
        let bound = Duration::from_secs_f64(*bound);
        for (more, place) in [(0, place), (1, place + 1)] {
            let times = Times::observe(bound + Duration::from_millis(more), LATENCY_BOUNDS);
            assert_eq!(times.buckets[place], 1, "{bound:?} + {more} ms");
        }
    }
}

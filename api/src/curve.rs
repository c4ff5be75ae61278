//! Curves for a screen: fewer points, with the extremes kept.

/// The places of at most `points` (four at least) of these heights: first and last, and of each stretch between them its
/// lowest and its highest, in their order.
pub(crate) fn thin(heights: &[f64], points: usize) -> Vec<usize> {
    let points = points.max(4);
    if heights.len() <= points {
        return (0..heights.len()).collect();
    }
    let last = heights.len() - 1;
    let stretches = (points - 2) / 2;
    let mut kept = vec![0];
    for stretch in 0..stretches {
        let (from, to) = (1 + stretch * (last - 1) / stretches, 1 + (stretch + 1) * (last - 1) / stretches);
        let by_height = |a: &usize, b: &usize| heights[*a].total_cmp(&heights[*b]);
        let (Some(low), Some(high)) = ((from..to).min_by(by_height), (from..to).max_by(by_height)) else {
            continue;
        };
        kept.push(low.min(high));
        if low != high {
            kept.push(low.max(high));
        }
    }
    kept.push(last);
    kept
}

#[cfg(test)]
mod tests {
    use super::thin;

    #[test]
    fn extremes_and_ends_stay_and_there_are_no_more_than_asked_for() {
        for (length, points) in [(0, 4), (1, 4), (4, 4), (5, 4), (1000, 4), (1000, 7), (997, 100), (101, 100)]
        {
            let heights: Vec<f64> = (0..length).map(|n| ((n * 7919) % 1009) as f64).collect();
            let kept = thin(&heights, points);
            assert!(kept.len() <= points, "{length} {points}: {}", kept.len());
            assert!(kept.windows(2).all(|pair| pair[0] < pair[1]), "{length} {points}: {kept:?}");
            let extremes = |places: &mut dyn Iterator<Item = usize>| {
                let heights: Vec<f64> = places.map(|at| heights[at]).collect();
                let fold = |f: fn(f64, f64) -> f64| heights.iter().copied().reduce(f);
                (fold(f64::min), fold(f64::max), heights.first().copied(), heights.last().copied())
            };
            let all = extremes(&mut (0..length));
            assert_eq!(extremes(&mut kept.iter().copied()), all, "{length} {points}");
        }
    }
}

//! The drawing: latency against load, one line for each server.

use std::fmt::Write;

use super::Against;
use super::axis::{Axis, written};
use crate::compare::{Series, Step};

const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 540.0;
/// Around the lines: left, right, top, bottom.
const MARGINS: (f64, f64, f64, f64) = (76.0, 24.0, 48.0, 60.0);
/// Colours that stay apart for people who do not tell red from green (Okabe and Ito).
const COLOURS: [&str; 7] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000"];

/// What is drawn.
pub(super) struct Drawing<'a> {
    pub(super) title: &'a str,
    pub(super) series: &'a [Series],
    pub(super) against: Against,
    /// Drawn as a line across, in milliseconds; above it a point is hollow.
    pub(super) limit_msec: f64,
}

impl Drawing<'_> {
    /// As a file of its own.
    pub(super) fn svg(&self) -> String {
        let (left, right, top, bottom) = MARGINS;
        let points = || self.series.iter().flat_map(|series| self.points(series));
        let across = Axis::around(points().map(|point| point.load), left, WIDTH - right);
        let limit = std::iter::once(self.limit_msec);
        let up = Axis::around(points().map(|point| point.msec).chain(limit), HEIGHT - bottom, top);
        let mut out = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" \
             height=\"{HEIGHT}\" font-family=\"sans-serif\" font-size=\"13\">\n\
             <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n"
        );
        text(&mut out, (left, 28.0), "start", "#222222", self.title);
        self.grid(&mut out, &across, &up);
        for (index, series) in self.series.iter().enumerate() {
            let colour = COLOURS[index % COLOURS.len()];
            self.line(&mut out, series, colour, &across, &up);
            let y = top + 22.0 + 20.0 * index as f64;
            let _ = writeln!(
                out,
                "<circle cx=\"{}\" cy=\"{}\" r=\"5\" fill=\"{colour}\"/>",
                left + 18.0,
                y - 4.0
            );
            text(&mut out, (left + 30.0, y), "start", "#222222", &series.name);
        }
        out.push_str("</svg>\n");
        out
    }

    fn grid(&self, out: &mut String, across: &Axis, up: &Axis) {
        let (left, right, top, bottom) = MARGINS;
        let (end, floor) = (WIDTH - right, HEIGHT - bottom);
        for (tick, named) in across.ticks() {
            let x = across.place(tick);
            line(out, (x, top), (x, floor), if named { "#dddddd" } else { "#f0f0f0" }, "");
            if named {
                text(out, (x, floor + 20.0), "middle", "#444444", &written(tick));
            }
        }
        for (tick, named) in up.ticks() {
            let y = up.place(tick);
            line(out, (left, y), (end, y), if named { "#dddddd" } else { "#f0f0f0" }, "");
            if named {
                text(out, (left - 8.0, y + 4.0), "end", "#444444", &written(tick));
            }
        }
        let y = up.place(self.limit_msec);
        line(out, (left, y), (end, y), "#b00000", " stroke-dasharray=\"6 4\"");
        text(out, (end - 4.0, y - 6.0), "end", "#b00000", &format!("{} ms", written(self.limit_msec)));
        let load = match self.against {
            Against::Offered => "frames offered per second (messages × subscribers)",
            Against::Delivered => "frames delivered per second",
        };
        text(out, ((left + end) / 2.0, HEIGHT - 14.0), "middle", "#222222", load);
        let middle = (top + floor) / 2.0;
        let _ = write!(out, "<g transform=\"rotate(-90 20 {middle:.1})\">");
        text(out, (20.0, middle), "middle", "#222222", "latency, 95 % of messages within (ms)");
        out.push_str("</g>\n");
    }

    fn line(&self, out: &mut String, series: &Series, colour: &str, across: &Axis, up: &Axis) {
        let points = self.points(series);
        let places: Vec<String> = points
            .iter()
            .map(|point| format!("{:.1},{:.1}", across.place(point.load), up.place(point.msec)))
            .collect();
        let _ = writeln!(
            out,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
            places.join(" ")
        );
        for point in points {
            let fill = if point.sustained { colour } else { "#ffffff" };
            let _ = writeln!(
                out,
                "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"4\" fill=\"{fill}\" stroke=\"{colour}\" stroke-width=\"2\">\
                 <title>{}: {:.0} frames/s, {:.2} ms</title></circle>",
                across.place(point.load),
                up.place(point.msec),
                escaped(&series.name),
                point.load,
                point.msec
            );
        }
    }

    /// The steps that can be drawn, by growing offered load.
    fn points(&self, series: &Series) -> Vec<Point> {
        let mut steps: Vec<&Step> = series.steps.iter().collect();
        steps.sort_by(|a, b| a.offered_frames_per_second.total_cmp(&b.offered_frames_per_second));
        let point = |step: &Step| {
            let load = match self.against {
                Against::Offered => step.offered_frames_per_second,
                Against::Delivered => step.delivered_frames_per_second,
            };
            let msec = step.p95_msec.filter(|&msec| msec > 0.0 && load > 0.0)?;
            Some(Point { load, msec, sustained: step.is_sustained(self.limit_msec) })
        };
        steps.into_iter().filter_map(point).collect()
    }
}

/// One step, as it is drawn.
#[derive(Clone, Copy, Debug)]
struct Point {
    load: f64,
    msec: f64,
    sustained: bool,
}

fn line(out: &mut String, from: (f64, f64), to: (f64, f64), colour: &str, more: &str) {
    let _ = writeln!(
        out,
        "<line x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\" stroke=\"{colour}\"{more}/>",
        from.0, from.1, to.0, to.1
    );
}

fn text(out: &mut String, place: (f64, f64), anchor: &str, colour: &str, words: &str) {
    let _ = writeln!(
        out,
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\" fill=\"{colour}\">{}</text>",
        place.0,
        place.1,
        escaped(words)
    );
}

fn escaped(words: &str) -> String {
    words.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(name: &str, points: &[(f64, Option<f64>, u64)]) -> Series {
        let step = |&(load, p95_msec, lost_frames): &(f64, Option<f64>, u64)| Step {
            offered_frames_per_second: load,
            delivered_frames_per_second: load / 2.0,
            p95_msec,
            lost_frames,
            ..Step::default()
        };
        let steps = points.iter().map(step).collect();
        Series { name: name.into(), subscribers: 10, payload_bytes: 128, steps }
    }

    fn drawn(series: &[Series], against: Against) -> String {
        Drawing { title: "Latency", series, against, limit_msec: 250.0 }.svg()
    }

    #[test]
    fn each_server_has_a_line_a_colour_and_its_name() {
        let all = [
            series("ours", &[(1e4, Some(1.0), 0), (1e6, Some(10.0), 0)]),
            series("<theirs> & more", &[(1e4, Some(5.0), 0), (1e6, None, 0)]),
        ];
        let svg = drawn(&all, Against::Offered);
        assert_eq!(svg.matches("<polyline").count(), 2);
        assert!(svg.contains("&lt;theirs&gt; &amp; more") && !svg.contains("<theirs>"), "{svg}");
        assert!(COLOURS[..2].iter().all(|colour| svg.contains(colour)));
        assert_eq!(svg.matches("<title>").count(), 3, "a step without a latency has no point");
    }

    #[test]
    fn points_go_from_low_to_high_load_and_those_that_did_not_keep_up_are_hollow() {
        let steps = [(1e6, Some(900.0), 0), (1e4, Some(1.0), 0), (1e5, Some(2.0), 3)];
        let svg = drawn(&[series("ours", &steps)], Against::Offered);
        let points = svg.split("<polyline points=\"").nth(1).and_then(|rest| rest.split('"').next());
        let across: Vec<f64> = points
            .expect("a line")
            .split(' ')
            .map(|point| point.split(',').next().and_then(|x| x.parse().ok()).expect("a number"))
            .collect();
        assert!(across.is_sorted() && across.len() == 3, "{across:?}");
        assert_eq!(svg.matches("r=\"4\" fill=\"#ffffff\"").count(), 2);
    }

    #[test]
    fn the_load_may_be_what_was_delivered() {
        let all = [series("ours", &[(1e4, Some(1.0), 0)])];
        assert!(drawn(&all, Against::Offered).contains("ours: 10000 frames/s"));
        let delivered = drawn(&all, Against::Delivered);
        assert!(delivered.contains("ours: 5000 frames/s") && delivered.contains("frames delivered"));
    }
}

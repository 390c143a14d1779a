use super::*;
use crate::model::Measure;
use crate::series::{
    groups::{GroupBuilder, Head, Shapes},
    view::Unprepared,
};

const FAMILIES: u64 = 3;

fn message(measure: Measure) -> FamilyId {
    catalog::MESSAGE.of(measure)
}

fn group(shapes: &mut Shapes, number: i64, count: u64) -> Arc<Group> {
    let mut builder = GroupBuilder::default();
    for (index, measure) in [Measure::Sent, Measure::Delivered, Measure::Opened]
        .into_iter()
        .enumerate()
    {
        let labels = shapes.tuple(&["push"]);
        // Only the first family changes.
        let count = if index == 0 { count } else { 7 };
        builder.add(message(measure), labels, Number::Count(count));
    }
    let head = Head {
        application: Arc::from("app"),
        id: Arc::from(format!("message-{number:010}")),
        label: Arc::from(format!("message-{number:010}")),
        campaign: Arc::from("spring"),
        since: Timestamp::from_second(number).unwrap(),
        sent: 1,
        of_message: true,
        common: 60,
    };
    Arc::new(
        shapes
            .group(head, &mut builder, delivery_clock::Moment::MAX, None)
            .unwrap(),
    )
}

fn identity() -> Arc<Identity> {
    Arc::new(Identity {
        provider: "engagelab",
        account: Arc::from("a"),
        extra: Vec::new(),
    })
}

fn view(layout: &mut Layout, messages: &[Arc<Group>]) -> View {
    let view_input = ViewInput {
        identity: identity(),
        shows_breakdown: true,
        messages: messages.to_vec(),
        figures: Vec::new(),
        chunks: Vec::new(),
    };
    layout.view(view_input, &Unprepared, None)
}

/// Every series once, newest message first, whatever has come and gone.
fn check(view: &View, messages: &[Arc<Group>]) {
    let family = message(Measure::Sent);
    let mut seen = Vec::new();
    for segment in view.family(family, true) {
        segment.visit(None, &mut |labels, value| {
            let id = labels.pairs().find(|(name, _)| *name == "message_id");
            seen.push((id.unwrap().1.to_owned(), value.clone()));
        });
    }
    let all: Vec<_> = messages
        .iter()
        .map(|group| {
            let (_, number) = group.values(family).next().unwrap();
            (group.id.to_string(), Value::Gauge(number))
        })
        .collect();
    assert_eq!(seen, all);
}

fn blocks(layout: &Layout) -> Vec<usize> {
    layout
        .messages
        .0
        .iter()
        .map(|placed| placed.weight)
        .collect()
}

#[test]
fn the_newest_messages_stand_in_small_blocks() {
    let mut shapes = Shapes::default();
    let mut layout = Layout::new(identity());
    let messages: Vec<_> = (0..5000).rev().map(|n| group(&mut shapes, n, 1)).collect();
    check(&view(&mut layout, &messages), &messages);
    let blocks = blocks(&layout);
    assert!(blocks[0] <= 2 * LEAST, "{blocks:?}");
    assert!(
        blocks.iter().all(|weight| *weight <= 2 * MOST),
        "{blocks:?}"
    );
    let mut ahead = 0;
    for weight in &blocks {
        assert!(*weight <= 2 * allowed(ahead), "{blocks:?}");
        ahead += weight;
    }
    assert!(blocks.len() < 80, "{} blocks", blocks.len());
}

#[test]
fn only_what_changed_is_made_anew() {
    let mut shapes = Shapes::default();
    let mut layout = Layout::new(identity());
    let mut messages: Vec<_> = (0..5000).rev().map(|n| group(&mut shapes, n, 1)).collect();
    let first = view(&mut layout, &messages);
    messages[0] = group(&mut shapes, 4999, 2);
    let second = view(&mut layout, &messages);
    check(&second, &messages);
    let kept = |old: &View, new: &View| {
        let same =
            |segment: &&Arc<Segment>| old.segments().iter().any(|old| Arc::ptr_eq(old, segment));
        new.segments().iter().filter(same).count()
    };
    // The other two families of the first block are new segments that keep their forms.
    assert_eq!(kept(&first, &second), second.segments().len() - 3);
    let third = view(&mut layout, &messages);
    assert_eq!(kept(&second, &third), third.segments().len());
}

#[test]
fn messages_come_and_go_and_pieces_last() {
    let mut shapes = Shapes::default();
    let mut layout = Layout::new(identity());
    let mut messages: Vec<Arc<Group>> = Vec::new();
    let (mut made, mut last) = (0, Vec::new());
    for number in 0..6000 {
        messages.insert(0, group(&mut shapes, number, 1));
        if messages.len() > 3000 {
            messages.pop();
        }
        if number % 17 == 0 && messages.len() > 40 {
            messages.remove(usize::try_from(number % 31).unwrap());
        }
        let view = view(&mut layout, &messages);
        if number % 500 == 0 {
            check(&view, &messages);
        }
        let old: std::collections::HashSet<_> = last.iter().map(Arc::as_ptr).collect();
        made += view
            .segments()
            .iter()
            .filter(|segment| !old.contains(&Arc::as_ptr(segment)))
            .count();
        last = view.segments().to_vec();
    }
    let each = made as u64 / FAMILIES / 6000;
    assert!(each <= 5, "{each} blocks are made anew for one message");
    assert!(blocks(&layout).len() < 60, "{:?}", blocks(&layout));
}

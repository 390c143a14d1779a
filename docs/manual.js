// Draws the Mermaid diagrams of a page, if docs/build has put Mermaid into the book.
(() => {
    const blocks = document.querySelectorAll('code.language-mermaid');
    if (blocks.length === 0) return;
    const script = document.createElement('script');
    // mdBook says where the book begins.
    script.src = `${path_to_root}mermaid.tiny.js`;
    script.onload = async () => {
        const isDark = ['navy', 'coal', 'ayu'].some((theme) => document.documentElement.classList.contains(theme));
        mermaid.initialize({ startOnLoad: false, suppressErrorRendering: true, theme: isDark ? 'dark' : 'default' });
        for (const [number, block] of blocks.entries()) {
            const { svg } = await mermaid.render(`diagram-${number}`, block.textContent);
            const figure = document.createElement('figure');
            figure.className = 'diagram';
            figure.innerHTML = svg;
            block.closest('pre').replaceWith(figure);
        }
    };
    document.head.append(script);
})();

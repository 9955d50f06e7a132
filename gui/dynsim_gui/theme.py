"""The dark theme: a palette for Qt's own drawing, a style sheet for what a palette cannot say."""

from __future__ import annotations

from qtpy.QtGui import QColor, QPalette
from qtpy.QtWidgets import QApplication

from dynsim_gui.models.palette import ACCENT, BORDER, CANVAS, DIM, ERROR, PANEL, RAISED, TEXT, WARN

_ROLES = {
    "Window": PANEL,
    "WindowText": TEXT,
    "Base": CANVAS,
    "AlternateBase": RAISED,
    "Text": TEXT,
    "PlaceholderText": DIM,
    "Button": RAISED,
    "ButtonText": TEXT,
    "BrightText": WARN,
    "Highlight": ACCENT,
    "HighlightedText": CANVAS,
    "ToolTipBase": RAISED,
    "ToolTipText": TEXT,
    "Link": ACCENT,
    "Light": BORDER,
    "Midlight": BORDER,
    "Mid": BORDER,
    "Dark": CANVAS,
    "Shadow": CANVAS,
}

_SHEET = f"""
QWidget {{ font-size: 9pt; }}
QMainWindow::separator {{ background: {CANVAS}; width: 4px; height: 4px; }}
QDockWidget {{ color: {TEXT}; font-weight: 600; titlebar-close-icon: none; }}
QDockWidget::title {{ background: {RAISED}; padding: 5px 8px; border-bottom: 1px solid {BORDER}; }}
QToolBar {{ background: {PANEL}; border: 0; border-bottom: 1px solid {BORDER}; padding: 0; }}
QToolTip {{ background: {RAISED}; color: {TEXT}; border: 1px solid {BORDER}; padding: 3px; }}
QMenuBar {{ background: {PANEL}; }}
QMenuBar::item:selected, QMenu::item:selected {{ background: {ACCENT}; color: {CANVAS}; }}
QMenu {{ background: {RAISED}; border: 1px solid {BORDER}; }}
QMenu::item {{ padding: 4px 24px; }}
QMenu::item:disabled {{ color: {DIM}; }}
QPushButton, QToolButton {{ background: {RAISED}; border: 1px solid {BORDER}; border-radius: 4px; padding: 4px 8px; }}
QPushButton:hover, QToolButton:hover {{ border-color: {ACCENT}; }}
QPushButton:pressed, QToolButton:pressed, QToolButton:checked {{ background: {BORDER}; border-color: {ACCENT}; }}
QPushButton:disabled, QToolButton:disabled {{ color: {DIM}; border-color: {RAISED}; }}
QLineEdit, QComboBox {{ background: {CANVAS}; border: 1px solid {BORDER}; border-radius: 3px;
  padding: 2px 5px; min-height: 18px; }}
QLineEdit:focus, QComboBox:focus {{ border-color: {ACCENT}; }}
QComboBox QAbstractItemView {{ background: {RAISED}; selection-background-color: {ACCENT}; }}
QLineEdit:disabled, QComboBox:disabled, QAbstractSpinBox:disabled, QLabel:disabled {{ color: {DIM}; }}
QCheckBox::indicator {{ width: 13px; height: 13px; border: 1px solid {DIM}; border-radius: 3px;
  background: {CANVAS}; }}
QCheckBox::indicator:checked {{ background: {ACCENT}; border-color: {ACCENT}; }}
QCheckBox::indicator:disabled {{ border-color: {BORDER}; }}
QTabWidget::pane {{ border: 0; border-top: 1px solid {BORDER}; }}
QTabBar::tab {{ background: {PANEL}; color: {DIM}; padding: 5px 10px; border: 0; border-bottom: 2px solid {PANEL}; }}
QTabBar::tab:selected {{ color: {TEXT}; border-bottom: 2px solid {ACCENT}; }}
QTabBar::tab:hover {{ color: {TEXT}; }}
QScrollBar:vertical {{ background: {PANEL}; width: 10px; }}
QScrollBar:horizontal {{ background: {PANEL}; height: 10px; }}
QScrollBar::handle {{ background: {BORDER}; border-radius: 4px; min-height: 24px; min-width: 24px; }}
QScrollBar::add-line, QScrollBar::sub-line {{ width: 0; height: 0; }}
QSlider::groove:horizontal {{ height: 4px; background: {BORDER}; border-radius: 2px; }}
QSlider::sub-page:horizontal {{ background: {ACCENT}; border-radius: 2px; }}
QSlider::sub-page:horizontal:disabled {{ background: {BORDER}; }}
QSlider::handle:horizontal {{ background: {TEXT}; width: 12px; margin: -5px 0; border-radius: 6px; }}
QSlider::handle:horizontal:disabled {{ background: {DIM}; }}
QProgressBar {{ border: 1px solid {BORDER}; border-radius: 3px; background: {CANVAS}; text-align: center; }}
QProgressBar::chunk {{ background: {ACCENT}; }}
QHeaderView::section {{ background: {RAISED}; border: 0; padding: 4px; }}
QSplitter::handle {{ background: {BORDER}; margin: 2px 8px; height: 2px; width: 2px; image: none; }}
QLabel#bad {{ color: {ERROR}; }}
QLabel#dim {{ color: {DIM}; }}
"""


def palette() -> QPalette:
    """The colours that Qt draws with."""
    p = QPalette()
    for role, colour in _ROLES.items():
        p.setColor(getattr(QPalette.ColorRole, role), QColor(colour))
    for role in ("WindowText", "Text", "ButtonText"):
        p.setColor(QPalette.ColorGroup.Disabled, getattr(QPalette.ColorRole, role), QColor(DIM))
    return p


def apply(application: QApplication) -> None:
    """Dark everywhere; asking Qt for its own dark scheme may do nothing, so the palette is ours."""
    application.setStyle("Fusion")
    application.setPalette(palette())
    application.setStyleSheet(_SHEET)
